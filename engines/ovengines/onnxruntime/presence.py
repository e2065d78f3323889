"""Whether ONNX Runtime is here, and with which execution providers. Loads it only when asked."""

from __future__ import annotations


def providers() -> list[str]:
    """Names such as CPUExecutionProvider; empty where onnxruntime is not installed, or broken."""
    try:
        import onnxruntime
    except ImportError:
        return []
    return list(onnxruntime.get_available_providers())


def version() -> str:
    import onnxruntime

    return str(onnxruntime.__version__)
