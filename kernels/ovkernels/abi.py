"""The C ABI of `kernels/include/ovk.h` as ctypes sees it: opening a library, its structs, its status codes.

Knows addresses and sizes, not what is computed. Change it with the header, and the version of both.
"""

from __future__ import annotations

import ctypes
from enum import IntEnum
from pathlib import Path

ABI_VERSION = 2
NO_BAD_TOKEN = 2**31 - 1
DTYPES = {"float32": 0, "float16": 1, "bfloat16": 2}


class Unavailable(Exception):
    """There is no such library to call; the text says why in one sentence."""


class Status(IntEnum):
    OK = 0
    NULL_POINTER = 1
    BAD_SHAPE = 2
    BAD_DTYPE = 3
    BAD_ALIGNMENT = 4
    BAD_OPTION = 5
    BAD_INDEX = 6
    DEVICE_FAILED = 7


class TokenPool(ctypes.Structure):
    """`ovk_token_pool`. Addresses are plain numbers, of the host or of a device."""

    _fields_ = (
        ("rows", ctypes.c_void_p),
        ("indices", ctypes.c_void_p),
        ("weights", ctypes.c_void_p),
        ("out", ctypes.c_void_p),
        ("num_rows", ctypes.c_int64),
        ("num_tokens", ctypes.c_int64),
        ("dim", ctypes.c_int64),
        ("dtype", ctypes.c_int32),
    )


class Resample(ctypes.Structure):
    """`ovk_resample`. Addresses are plain numbers."""

    _fields_ = (
        ("in", ctypes.c_void_p),
        ("first", ctypes.c_void_p),
        ("weights", ctypes.c_void_p),
        ("out", ctypes.c_void_p),
        ("outer", ctypes.c_int64),
        ("in_size", ctypes.c_int64),
        ("inner", ctypes.c_int64),
        ("out_size", ctypes.c_int64),
        ("taps", ctypes.c_int64),
    )


def open_library(file: Path) -> ctypes.CDLL:
    """Raises Unavailable for a file that is not there, does not load, or is of another ABI."""
    if not file.is_file():
        raise Unavailable(f"there is no {file}")
    try:
        library = ctypes.CDLL(str(file))
        version = library.ovk_abi_version()
    except (OSError, AttributeError) as err:
        raise Unavailable(f"{file} does not load: {err}") from err
    if version != ABI_VERSION:
        raise Unavailable(f"{file} has ABI {version}, not {ABI_VERSION}")
    library.ovk_version.restype = library.ovk_status_text.restype = ctypes.c_char_p
    return library


def check(library: ctypes.CDLL, status: int) -> None:
    """Raises what the status stands for; nothing for OK."""
    if status == Status.OK:
        return
    text = library.ovk_status_text(status).decode()
    if status == Status.DEVICE_FAILED:
        raise RuntimeError(text)
    raise ValueError(text)
