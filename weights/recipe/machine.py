"""The machine: what OpenBLAS and glibc must be told for speed and for the same bits everywhere, and what is not installed.

Import it before torch, which reads the environment once.
"""
import ctypes
import importlib.util
import os
import sys
from pathlib import Path

from . import RecipeError

INSTALL = "on Debian 12: apt-get install python3-torch libopenblas0-pthread, then run the recipe with /usr/bin/python3"


def prepare():
    """Sets the environment of OpenBLAS where the caller has not; an error if there is no torch."""
    # One thread a process: at this size two processes of one thread beat one of two.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # OpenBLAS falls back to SSE3 on processors newer than itself, four times slower here, and what it picks decides the bits.
    flags = processor_flags()
    if {"avx512f", "avx512dq", "avx512bw", "avx512vl"} <= flags:
        os.environ.setdefault("OPENBLAS_CORETYPE", "SkylakeX")
    elif {"avx2", "fma"} <= flags:
        os.environ.setdefault("OPENBLAS_CORETYPE", "Haswell")
    if importlib.util.find_spec("torch") is None:
        raise RecipeError(f"PyTorch is not installed for {sys.executable}; {INSTALL}")


def processor_flags():
    return set(processor("flags").split())


def processor(field):
    """A field of the first processor in /proc/cpuinfo; empty where there is none."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(field)), "")


def slow_blas():
    """A warning if torch computes with the reference BLAS, else None; after torch is imported."""
    try:
        libraries = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "/libblas.so" in line}
    except OSError:
        return None
    slow = [path for path in libraries if Path(path).parent.name == "blas"]
    return f"recipe: {slow[0]} is the reference BLAS, some 30 times slower than OpenBLAS; {INSTALL}" if slow else None


def keep_freed_memory():
    """glibc returns and re-faults every large tensor by default; keeping the pages is faster."""
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-3, 1 << 30)       # M_MMAP_THRESHOLD
        libc.mallopt(-1, 1 << 30)       # M_TRIM_THRESHOLD
    except OSError:
        pass                            # another C library: only slower
