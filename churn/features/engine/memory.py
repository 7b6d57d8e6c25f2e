"""Memory that a worker has had once is kept for its next array.

Workers make and drop arrays of megabytes by the hundred. The C library gives each one that is dropped back to the
kernel, which hands the next one out anew and clears it page by page.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Final

import pyarrow as pa

KEPT: Final = 1 << 30
"""Bytes: an array up to this is had from what was kept, and no more than this is kept unused at the end of it."""

_TRIM_THRESHOLD: Final = -1  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of glibc's malloc.h
_MMAP_THRESHOLD: Final = -3


@cache
def keep_memory() -> None:
    """Have this process keep what it frees, Arrow's arrays too. Does nothing where the C library is not glibc."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt") and libc.mallopt(_MMAP_THRESHOLD, KEPT) and libc.mallopt(_TRIM_THRESHOLD, KEPT):
        pa.set_memory_pool(pa.system_memory_pool())
