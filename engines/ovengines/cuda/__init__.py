"""The CUDA runtime by ctypes: memory, copies, one stream, graphs. Knows nothing of engines. Not yet run on a device."""
