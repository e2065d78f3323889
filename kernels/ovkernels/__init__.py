"""Native operations of the pipeline, with a NumPy reference for each. Imports none of the other packages."""

from ovkernels.dispatch import bilinear_token_pool, implementation, native_resample

__all__ = ["bilinear_token_pool", "implementation", "native_resample"]
