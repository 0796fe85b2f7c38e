"""What is freed stays for the next image, and goes back when it is told to."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

#: Many pieces that are freed but for the last one, which keeps the C library from giving the others back.
SCRIPT = """
from pathlib import Path
from wetread.memory import give_back, keep_freed
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
assert keep_freed()
pieces = [b"x" * 500_000 for _ in range(300)]
full = resident()
del pieces[:-1]
kept = resident()
give_back()
print(full - kept, kept - resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_memory_stays_until_it_is_given_back() -> None:
    command = [sys.executable, "-c", SCRIPT]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    by_itself, when_told = map(int, told)
    assert by_itself < 10e6
    assert when_told > 100e6
