"""Giving memory back that tensors have freed."""

import ctypes
import gc
import platform


def return_freed_memory() -> None:
    """Hand memory that is free but still held by the C library back to the system.

    Tensors whose sizes change from batch to batch leave holes that glibc keeps: gigabytes within a
    minute of generating or training on a CPU. It costs milliseconds, so long loops call it now and then.
    """
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def collect_garbage() -> None:
    """Free what is unreachable, for instance a model in a reference cycle, and return its memory."""
    gc.collect()
    return_freed_memory()
