"""Which data files an ONNX file refers to, found without the onnx package, so that a runtime can check them.

Walks just the messages of onnx.proto that can hold a tensor; everything else is skipped unread.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ovengines.errors import ExitCode, OVError

# (message, field number) -> the message in that field, from onnx.proto
_NESTED = {
    ("Model", 7): "Graph",
    ("Model", 25): "Function",
    ("Graph", 1): "Node",
    ("Graph", 5): "Tensor",
    ("Graph", 15): "SparseTensor",
    ("Function", 7): "Node",
    ("Node", 5): "Attribute",
    ("Attribute", 5): "Tensor",
    ("Attribute", 6): "Graph",
    ("Attribute", 10): "Tensor",
    ("Attribute", 11): "Graph",
    ("Attribute", 22): "SparseTensor",
    ("Attribute", 23): "SparseTensor",
    ("SparseTensor", 1): "Tensor",
    ("SparseTensor", 2): "Tensor",
    ("Tensor", 13): "Entry",
}
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_DEPTH = 32


def external_locations(file: Path) -> set[str]:
    """The `location` of every tensor that is stored outside. Raises OVError (BUNDLE_INVALID) for what is no model."""
    try:
        return set(_locations(memoryview(file.read_bytes()), "Model", 0))
    except (IndexError, ValueError) as err:
        raise OVError(ExitCode.BUNDLE_INVALID, f"{file.name} is no ONNX file: {err}", "build the bundle again") from err


def _locations(message: memoryview, kind: str, depth: int) -> Iterator[str]:
    if depth > _MAX_DEPTH:
        raise ValueError("nested too deeply")
    if kind == "Entry":
        fields = dict(_fields(message))
        if bytes(fields.get(1, b"")) == b"location":
            yield bytes(fields.get(2, b"")).decode()
        return
    for number, content in _fields(message):
        if nested := _NESTED.get((kind, number)):
            yield from _locations(content, nested, depth + 1)


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """(number, content) of the length-delimited fields."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        wire = key & 7
        if wire == _VARINT:
            _, at = _varint(message, at)
        elif wire in (_FIXED64, _FIXED32):
            at += 8 if wire == _FIXED64 else 4
        elif wire == _BYTES:
            size, at = _varint(message, at)
            if at + size > len(message):
                raise ValueError("cut off")
            yield key >> 3, message[at : at + size]
            at += size
        else:
            raise ValueError(f"unknown wire type {wire}")


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number of too many bytes")
