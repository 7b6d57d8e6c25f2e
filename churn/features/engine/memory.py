"""A worker retains the memory of freed arrays for its next ones.

Workers allocate and free arrays of megabytes by the hundred. By default the C library returns each to the kernel, which
maps the next one anew and clears it page by page.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Final

import pyarrow as pa

RETAINED_BYTES: Final = 1 << 30
"""Arrays up to this size come from retained memory, and at most so much is retained unused at its end."""

_TRIM_THRESHOLD: Final = -1  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of glibc's malloc.h
_MMAP_THRESHOLD: Final = -3


@cache
def retain_memory() -> None:
    """Make this process retain what it frees, Arrow's arrays too. Does nothing where the C library is not glibc."""
    libc = ctypes.CDLL(None)
    if (
        hasattr(libc, "mallopt")
        and libc.mallopt(_MMAP_THRESHOLD, RETAINED_BYTES)
        and libc.mallopt(_TRIM_THRESHOLD, RETAINED_BYTES)
    ):
        pa.set_memory_pool(pa.system_memory_pool())
