"""ovrun.h as ctypes sees it: the library in a process that runs Python already."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_char_p, c_double, c_int32, c_int64, c_size_t, c_void_p
from pathlib import Path

CALLBACK = ctypes.CFUNCTYPE(c_int32, c_void_p, c_size_t, c_void_p)


class Option(ctypes.Structure):
    _fields_ = (("name", c_char_p), ("value", c_char_p))


class Frame(ctypes.Structure):
    _fields_ = (
        ("format", c_int32),
        ("colour", c_int32),
        ("width_px", c_int32),
        ("height_px", c_int32),
        ("planes", c_void_p * 2),
        ("stride_bytes", c_int64 * 2),
    )


class Media(ctypes.Structure):
    _fields_ = (("kind", c_int32), ("path", c_char_p), ("bytes", c_void_p), ("num_bytes", c_size_t), ("frame", Frame))


class Request(ctypes.Structure):
    _fields_ = (
        ("prompt", c_char_p),
        ("system", c_char_p),
        ("images", POINTER(Media)),
        ("num_images", c_size_t),
        ("video", POINTER(Media)),
        ("num_video", c_size_t),
        ("options", POINTER(Option)),
        ("num_options", c_size_t),
    )


class Result(ctypes.Structure):
    _fields_ = (
        ("text", c_char_p),
        ("num_text_bytes", c_size_t),
        ("finish_reason", c_char_p),
        ("token_ids", POINTER(c_int64)),
        ("num_token_ids", c_size_t),
        ("prompt_tokens", c_int64),
        ("reused_tokens", c_int64),
        ("image_tokens", c_int64),
        ("tiles", c_int64),
        ("timings_ms", c_double * 8),
        ("warnings", POINTER(c_char_p)),
        ("num_warnings", c_size_t),
        ("json", c_char_p),
    )


class Library:
    """`holding_gil`: as a module of Python would call it, without letting go of the GIL before."""

    def __init__(self, file: Path, *, holding_gil: bool = False) -> None:
        self.c = (ctypes.PyDLL if holding_gil else ctypes.CDLL)(str(file))
        for name in ("ov_last_error", "ov_last_hint", "ov_version"):
            getattr(self.c, name).restype = c_char_p

    def check(self, status: int) -> None:
        assert status == 0, (status, self.c.ov_last_error(), self.c.ov_last_hint())

    def open(self, bundle: Path) -> c_void_p:
        session = c_void_p()
        options = (Option * 1)(Option(b"threads", b"1"))
        self.check(self.c.ov_session_open(str(bundle).encode(), options, c_size_t(1), ctypes.byref(session)))
        return session

    def generate(self, session: c_void_p, request: Request, callback: object = None) -> tuple[list[int], str]:
        """Token ids and text."""
        result = POINTER(Result)()
        self.check(self.c.ov_generate(session, ctypes.byref(request), callback, None, ctypes.byref(result)))
        told = result.contents
        ids, text = told.token_ids[: told.num_token_ids], told.text.decode()
        self.check(self.c.ov_result_free(result))
        return ids, text


def request_about(path: Path) -> Request:
    image = Media(kind=1, path=str(path).encode())
    return Request(prompt=b"Describe this image.", images=ctypes.pointer(image), num_images=1)
