"""Memory that is freed stays with the process, ready for the next image; after a large study it goes back.

Left alone, the C library gives every large array back to the system and the
system zeroes each of its pages anew: an eighth of the time of a reading.
What hundreds of slices leave behind in small pieces, it would never give back.  And each of
sixteen arenas, which threads get in turn, would keep its own: two are enough, a quarter less.
"""

from __future__ import annotations

import ctypes
import platform

#: mallopt(3), glibc: what to set, and to how many bytes.
_MMAP_THRESHOLD, _LARGEST = -3, 32 << 20  # the most that glibc takes; larger arrays are mapped as before
_TRIM_THRESHOLD, _KEPT = -1, 96 << 20
_ARENA_MAX, _ARENAS = -8, 2
#: A study of so many bytes is a large one.
LARGE = _LARGEST


def keep_freed() -> bool:
    """Ask the C library to keep freed arrays of up to 32 MB, 96 MB in all, in two arenas; best before any thread.

    Returns
    -------
    Whether it will; other C libraries than glibc are left alone.
    """
    library = _glibc()
    if library is None:
        return False
    asked = ((_MMAP_THRESHOLD, _LARGEST), (_TRIM_THRESHOLD, _KEPT), (_ARENA_MAX, _ARENAS))
    return all(library.mallopt(*one) for one in asked)


def give_back() -> None:
    """Give all freed memory back to the system, malloc_trim(3); other C libraries than glibc are left alone."""
    library = _glibc()
    if library is not None:
        library.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None
