"""What is freed stays for the next image, and goes back when it is told to."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

COMMON = """
import threading
from pathlib import Path
from wetread.memory import give_back, keep_freed
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
assert keep_freed()
"""
#: Many pieces that are freed but for the last one, which keeps the C library from giving the others back.
PIECES = """
pieces = [b"x" * 500_000 for _ in range(300)]
full = resident()
del pieces[:-1]
"""
#: The pixels of a large study, made and freed by another thread than the first.
LARGE = """
def work():
    global full
    pixels = b"x" * 150_000_000
    full = resident()
thread = threading.Thread(target=work)
thread.start()
thread.join()
"""
TOLD = """
kept = resident()
give_back()
print(full - kept, kept - resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
@pytest.mark.parametrize("freed", [PIECES, LARGE])
def test_memory_stays_until_it_is_given_back(freed: str) -> None:
    command = [sys.executable, "-c", COMMON + freed + TOLD]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    by_itself, when_told = map(int, told)
    assert by_itself < 10e6
    assert when_told > 100e6
