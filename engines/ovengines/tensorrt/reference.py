"""What the gate needs of `reference.npz`: the inputs and PyTorch's outputs that the exporter put into the bundle.

Axes: N tiles, C channels, H W pixels, F kept patches, T visual tokens, D width, S positions, K kept positions,
V vocabulary.
"""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from ovengines.bundle.reader import Bundle
from ovengines.engine import Float32, Int64
from ovengines.errors import ExitCode, OVError

REFERENCE_FILE = "reference.npz"
_DAMAGED = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True, kw_only=True, eq=False)
class Reference:
    """`features_FD` are the rows `features_rows_F` of the tower's output, flat over tiles; the others count as zero."""

    pixels_NCHW: Float32
    indices_T4: NDArray[np.int32]
    weights_T4: Float32
    input_ids_S: Int64
    embed_index_S: Int64
    prompt_tokens: Int64  # scalar
    logits_positions_K: Int64
    features_rows_F: Int64
    features_FD: Float32
    patches: Int64  # scalar
    image_embeds_TD: Float32
    logits_KV: Float32
    rounded_logits_trt_KV: Float32  # with the weights rounded as in the graph; of no rows where none are

    @property
    def features_NPD(self) -> Float32:
        """The projector's input."""
        num_tiles, patches = len(self.pixels_NCHW), int(self.patches)
        flat_RD = np.zeros((num_tiles * patches, self.features_FD.shape[1]), np.float32)
        flat_RD[self.features_rows_F] = self.features_FD
        return flat_RD.reshape(num_tiles, patches, -1)

    @property
    def wanted_logits_KV(self) -> Float32:
        """What the decoder's own weights give."""
        return self.rounded_logits_trt_KV if len(self.rounded_logits_trt_KV) else self.logits_KV


def load_reference(bundle: Bundle) -> Reference:
    """Raises OVError (BUNDLE_INVALID) for a bundle without one, or with one that can't be read."""
    if all(spec.name != REFERENCE_FILE for spec in bundle.manifest.files):
        raise OVError(
            ExitCode.BUNDLE_INVALID,
            f"the bundle {bundle.path} has no {REFERENCE_FILE}, so an engine built from it can't be checked",
            "build the bundle again with --verify quick",
        )
    try:
        with np.load(bundle.file(REFERENCE_FILE), allow_pickle=False) as arrays:
            reference = Reference(**{field.name: arrays[field.name] for field in fields(Reference)})
        if bundle.manifest.precision == "int4" and not len(reference.rounded_logits_trt_KV):
            raise ValueError("it has no logits of 4-bit weights")
        return reference
    except _DAMAGED as err:
        message = f"{REFERENCE_FILE} can't be read: {err}"
        raise OVError(ExitCode.BUNDLE_INVALID, message, "build the bundle again") from err
