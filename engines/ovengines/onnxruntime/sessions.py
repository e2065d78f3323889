"""Opens ONNX Runtime sessions, and turns what goes wrong in them into errors of ours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnxruntime as ort

from ovengines.bundle.reader import Bundle
from ovengines.errors import ExitCode, OVError


def open_session(
    bundle: Bundle, role: str, threads: int | None, providers: Sequence[Any] = ("CPUExecutionProvider",)
) -> ort.InferenceSession:
    """A session on the bundle's graph of that role. Raises OVError (BUNDLE_INVALID) if it can't be loaded."""
    graph = bundle.manifest.graph(role, "ort")
    options = ort.SessionOptions()
    options.log_severity_level = 4  # what goes wrong is raised, and told in one line
    if threads:
        options.intra_op_num_threads = threads
    try:
        return ort.InferenceSession(str(bundle.graph_file(graph)), options, providers=list(providers))
    except MemoryError:
        raise
    except Exception as err:  # onnxruntime's own exception types share no base class
        raise _load_error(bundle.graph_file(graph), err) from err


def _load_error(path: Path, err: Exception) -> OVError:
    file = path.name
    if not path.exists():
        return OVError(ExitCode.BUNDLE_INVALID, f"{file} is gone from the bundle {path.parent}", "build it again")
    if is_out_of_memory(err):
        return OVError(
            ExitCode.OUT_OF_MEMORY, f"not enough memory to load {file}", "use a smaller precision: --precision int4"
        )
    return OVError(
        ExitCode.BUNDLE_INVALID,
        f"onnxruntime {ort.__version__} can't load {file}: {one_line(err)}",
        "pip install --upgrade onnxruntime, or build the bundle again",
    )


def run_error(role: str, err: Exception) -> OVError:
    """What a failed run of a graph is to the user."""
    if is_out_of_memory(err):
        return OVError(
            ExitCode.OUT_OF_MEMORY,
            f"the {role} graph ran out of memory",
            "use a smaller image or a smaller precision (--precision int4)",
        )
    return OVError(
        ExitCode.UNEXPECTED, f"onnxruntime failed in the {role} graph: {one_line(err)}", "please report this"
    )


def is_out_of_memory(err: Exception) -> bool:
    """onnxruntime's exceptions share no type for it; these are the words of its allocators."""
    return any(words in str(err) for words in ("bad allocation", "bad_alloc", "Failed to allocate memory"))


def one_line(err: Exception) -> str:
    return " ".join(str(err).split())[:300]
