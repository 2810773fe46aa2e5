"""Keeps freed memory in the process, so that large CPU tensors do not fault their pages in anew at every step."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # options of mallopt(3)


def keep_freed_memory() -> bool:
    """Ask glibc to serve large allocations from the heap and to keep them there; False where it is not glibc.

    Measured on two cores: a training step of `complex_ssl` at batch 32 takes 2.5 s instead of 3.2 s. The process keeps
    its peak until it ends.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # musl and others
        return False
    return all([mallopt(M_MMAP_MAX, 0), mallopt(M_TRIM_THRESHOLD, 2**31 - 1), mallopt(M_TOP_PAD, 2**28)])
