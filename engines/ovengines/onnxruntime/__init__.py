"""The ONNX Runtime back end. The only place in the project that imports onnxruntime."""
