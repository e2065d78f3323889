"""CHECKPOINT -> BUNDLE: reads LLaVA-OneVision weights, writes ONNX graphs, proves their parity."""

__version__ = "0.1.0"
