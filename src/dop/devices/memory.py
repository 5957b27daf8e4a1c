"""Memory that is free and yet held: what a long training keeps of the system's without need.

glibc keeps what is freed for later. That is 0.65 GB of the 1.1 GB that a process has after the compilation of stochastic DOP; and since
each checkpoint is written by new threads, which take heaps in turn (8 for each core), the rest grows for hours, though no more is in use.
Other allocators return what is free by themselves; there nothing happens here.
"""

from __future__ import annotations

import ctypes

_M_ARENA_MAX = -8
"""`M_ARENA_MAX` of glibc's <malloc.h>."""


def use_few_heaps() -> None:
    """Let all threads of this process share two heaps. To be called before there are many threads: by programs, not by libraries."""
    limit = getattr(ctypes.CDLL(None), "mallopt", None)
    if limit is not None:
        limit(_M_ARENA_MAX, 2)


def give_back() -> None:
    """Return to the system what has been freed; nothing that is in use changes."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
