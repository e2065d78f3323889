"""Opens ONNX Runtime sessions with the options that were measured to matter (docs/log.md)."""

from __future__ import annotations

import onnxruntime as ort

from ovengines.bundle.reader import Bundle
from ovengines.errors import ExitCode, OVError


def open_session(bundle: Bundle, role: str, threads: int | None) -> ort.InferenceSession:
    """A session on the bundle's graph of that role. Raises OVError (BUNDLE_INVALID) if it can't be loaded."""
    graph = bundle.manifest.graph(role, "ort")
    options = ort.SessionOptions()
    options.log_severity_level = 4  # what goes wrong is raised, and told in one line
    if threads:
        options.intra_op_num_threads = threads
    try:
        return ort.InferenceSession(str(bundle.graph_file(graph)), options, providers=["CPUExecutionProvider"])
    except MemoryError:
        raise
    except Exception as err:  # onnxruntime's own exception types share no base class
        raise _load_error(graph.file, err) from err


def _load_error(file: str, err: Exception) -> OVError:
    text = " ".join(str(err).split())
    if "bad allocation" in text or "bad_alloc" in text:
        return OVError(
            ExitCode.OUT_OF_MEMORY,
            f"not enough memory to load {file}",
            "use a smaller precision: --precision int4",
        )
    return OVError(
        ExitCode.BUNDLE_INVALID,
        f"onnxruntime {ort.__version__} can't load {file}: {text[:300]}",
        "pip install --upgrade onnxruntime, or build the bundle again",
    )
