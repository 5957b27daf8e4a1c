"""Memory that is free and yet held."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import psutil
import pytest

from dop.devices import memory

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


HEAPS = """
import ctypes, sys, threading
from dop.devices import memory
if sys.argv[1] == "few":
    memory.use_few_heaps()
gate = threading.Barrier(9)
def work():
    kept = bytearray(50_000)
    gate.wait()
    gate.wait()
threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads:
    thread.start()
gate.wait()
ctypes.CDLL(None).malloc_stats()
gate.wait()
"""


def heaps(how: str) -> int:
    """Of a new process with eight threads that hold memory."""
    shown = subprocess.run([sys.executable, "-c", HEAPS, how], capture_output=True, text=True, check=True).stderr
    return shown.count("Arena ")


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="another allocator than glibc's")
def test_threads_share_two_heaps():
    assert heaps("few") == 2 < heaps("many")
