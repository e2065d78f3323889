"""Opens ONNX Runtime sessions, and turns what goes wrong in them into errors of ours."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import onnxruntime as ort

from ovengines.bundle.manifest import GraphSpec
from ovengines.bundle.reader import Bundle
from ovengines.errors import ExitCode, OVError


def open_session(
    bundle: Bundle,
    role: str,
    threads: int | None,
    providers: Sequence[Any] = ("CPUExecutionProvider",),
    *,
    read: Callable[[Path], str | bytes] = str,
) -> ort.InferenceSession:
    """A session on the bundle's graph of that role, or on what `read` makes of the file.

    Raises OVError: BUNDLE_INVALID if it can't be loaded, MISSING_DEPENDENCY if ONNX Runtime is too old for it or lacks
    a provider that was asked for (it would go on without).
    """
    graph = bundle.manifest.graph(role, "ort")
    if not is_new_enough(graph, ort.__version__):
        raise OVError(
            ExitCode.MISSING_DEPENDENCY,
            f"{graph.file} needs onnxruntime {graph.min_runtime} or newer, and this is {ort.__version__}",
            "pip install --upgrade onnxruntime   (with a GPU: onnxruntime-gpu)",
        )
    options = ort.SessionOptions()
    options.log_severity_level = 4  # what goes wrong is raised, and told in one line
    if threads:
        options.intra_op_num_threads = threads
    try:
        model = read(bundle.graph_file(graph))
        if isinstance(model, bytes):  # has no place of its own from which to find the weights
            options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(bundle.path))
        # Without this, ONNX Runtime says on stdout that it goes on with the CPU when a provider fails, in any run.
        session = ort.InferenceSession(model, options, providers=list(providers), enable_fallback=0)
    except MemoryError:
        raise
    except Exception as err:  # onnxruntime's own exception types share no base class
        raise _load_error(bundle.graph_file(graph), err) from err
    _check_providers(session, providers)
    return session


def is_new_enough(graph: GraphSpec, runtime_version: str) -> bool:
    return graph.min_runtime is None or _version(runtime_version) >= _version(graph.min_runtime)


def _version(text: str) -> tuple[int, ...]:
    """ "1.25.0+cu13" -> (1, 25)."""
    return tuple(int("".join(filter(str.isdigit, part)) or 0) for part in text.split(".")[:2])


def _check_providers(session: ort.InferenceSession, asked: Sequence[Any]) -> None:
    names = [name if isinstance(name, str) else name[0] for name in asked]
    if gone := [name for name in names if name not in session.get_providers()]:
        raise OVError(
            ExitCode.MISSING_DEPENDENCY,
            f"onnxruntime {ort.__version__} could not load its {gone[0]}",
            "see which library is missing with: ovrun doctor --device cuda",
        )


def preload_cuda() -> None:
    """Load the libraries of CUDA that pip installed: the loader would not find them (onnxruntime 1.21 and newer)."""
    if hasattr(ort, "preload_dlls"):
        with contextlib.redirect_stdout(sys.stderr):  # it prints what it does not find; stdout belongs to the answer
            ort.preload_dlls()


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
