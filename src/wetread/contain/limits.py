"""What a child may use; it sets its own limits before it reads anything, and cannot take them back."""

from __future__ import annotations

import resource
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MAX_OPEN_FILES = 64
#: The kernel that has no memory left ends a child before anything else (proc(5), oom_score_adj).
_FIRST_TO_GO = "1000"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a child may use; its wall time is the service's to watch."""

    memory_bytes: int  # of its own, in all
    cpu_s: int  # for one file
    answer_bytes: int  # of one answer

    def set(self) -> None:
        """Set what holds for the whole process."""
        for kind, most in (
            (resource.RLIMIT_DATA, self.memory_bytes),
            (resource.RLIMIT_FSIZE, self.answer_bytes),
            (resource.RLIMIT_NOFILE, MAX_OPEN_FILES),
            (resource.RLIMIT_CORE, 0),  # a dump would hold a patient's data
        ):
            _, hard = resource.getrlimit(kind)
            most = most if hard == resource.RLIM_INFINITY else min(most, hard)
            resource.setrlimit(kind, (most, most))
        with suppress(OSError):  # as on a system without it
            Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_GO)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the service, which ends its children

    def begin(self) -> None:
        """Let the CPU time of one file count from now; SIGXCPU ends what needs more."""
        used = time.clock_gettime(time.CLOCK_PROCESS_CPUTIME_ID)
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        resource.setrlimit(resource.RLIMIT_CPU, (int(used) + 1 + self.cpu_s, hard))
