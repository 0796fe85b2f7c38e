"""Memory that is freed stays with the process, ready for the next image; when nothing is left to read, it goes back.

Left alone, the C library gives every large array back to the system and the system zeroes each of its pages anew: an
eighth of the time of a film, and of a CT of 200 slices a third, where a virtual machine must ask its host for them.
glibc keeps an array only if it lies in its main heap: so none gets a map of its own, and all threads share one arena,
as the others hold no array above 64 MB and let go of what they do hold.
"""

from __future__ import annotations

import ctypes
import platform

#: mallopt(3), glibc: what to set, and to what.
_MMAP_MAX, _NONE = -4, 0
_TRIM_THRESHOLD, _KEPT = -1, 1 << 30
_ARENA_MAX, _ARENAS = -8, 1
#: After a study of so many bytes there is much to give back, if no other follows; in any case.
LARGE, HUGE = 32 << 20, 512 << 20


def keep_freed() -> bool:
    """Ask the C library to keep freed arrays, up to 1 GB at the end of its heap; best before any thread.

    Returns
    -------
    Whether it will; other C libraries than glibc are left alone.
    """
    library = _glibc()
    if library is None:
        return False
    asked = ((_MMAP_MAX, _NONE), (_TRIM_THRESHOLD, _KEPT), (_ARENA_MAX, _ARENAS))
    return all(library.mallopt(*one) for one in asked)


def give_back() -> None:
    """Give all freed memory back to the system, malloc_trim(3); other C libraries than glibc are left alone."""
    library = _glibc()
    if library is not None:
        library.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None
