"""Memory that is free and yet held."""

from __future__ import annotations

import ctypes

import psutil
import pytest

from dop.engine import memory

SIZE, COUNT = 100_000, 2000


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="glibc's allocator alone keeps what is freed")
def test_what_was_freed_goes_back_to_the_system():
    blocks = [bytearray(SIZE) for _ in range(COUNT)]
    last = blocks.pop()  # above the others in the heap, so that freeing them returns nothing by itself
    for block in blocks:
        block[:] = b"\1" * SIZE
    blocks.clear()
    held = psutil.Process().memory_info().rss
    memory.give_back()
    assert psutil.Process().memory_info().rss < held - 0.8 * SIZE * COUNT
    assert last == bytearray(SIZE)
