"""PyTorch's side of the comparison: each stage's inputs and outputs in float32, computed one part at a time.

Tower, projector and language model are brought to life one after the other over the checkpoint's mapped tensors and
dropped again, so memory stays near the bytes of the checkpoint. Saved in the bundle as reference.npz.

Axes: N tiles, P patches of a tile, D width, F kept patches, T visual tokens, S positions, K kept positions,
V vocabulary, G greedy tokens.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ovengines.errors import ExitCode, OVError
from ovexport.checkpoint.parts import TensorFolder, load_language_model, load_projector, load_vision_tower
from ovexport.model import KVCache, OneVision, weights_upcast
from ovexport.precision.policy import Policy
from ovexport.verify.probe import GREEDY_TOKENS, Probe, make_probe
from ovexport.verify.ranges import Peaks, note_head, watched
from ovexport.verify.rounded import has_rounded_decoder, rounded_logits

Progress = Callable[[str, int, int], None]  # (step, steps done, steps in all)
STEPS = 4
# What np.load and reading an array raise for a file that is none of ours.
_DAMAGED = (OSError, ValueError, KeyError, EOFError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True, kw_only=True, eq=False)
class Reference:
    """Inputs (first block) and PyTorch's outputs (second block).

    `features_FD` are the rows of the tower's output, flat over tiles, that the plan names: `features_rows_F`. The
    projector is fed with those and zeros elsewhere, which gives the same visual tokens.
    """

    pixels_NCHW: NDArray[np.float32]
    indices_T4: NDArray[np.int32]
    weights_T4: NDArray[np.float32]
    input_ids_S: NDArray[np.int64]
    embed_index_S: NDArray[np.int64]
    prompt_tokens: NDArray[np.int64]  # scalar: the positions after it are fed one at a time
    logits_positions_K: NDArray[np.int64]
    seed: NDArray[np.int64]  # scalar

    features_rows_F: NDArray[np.int64]
    features_FD: NDArray[np.float32]
    patches: NDArray[np.int64]  # scalar: P
    image_embeds_TD: NDArray[np.float32]
    logits_KV: NDArray[np.float32]
    rounded_logits_KV: NDArray[np.float32]  # with the bundle's rounded weights (rounded.py); K is 0 if not asked for
    rounded_logits_trt_KV: NDArray[np.float32]  # with those for TensorRT, whose blocks are others
    greedy_ids_G: NDArray[np.int64]
    range_names: NDArray[np.str_]  # of activations (ranges.py)
    range_peaks: NDArray[np.float32]  # their largest magnitudes
    torch_version: NDArray[np.str_]  # scalar

    @property
    def features_NPD(self) -> NDArray[np.float32]:
        """The projector's input."""
        num_tiles, patches = len(self.pixels_NCHW), int(self.patches)
        flat_RD = np.zeros((num_tiles * patches, self.features_FD.shape[1]), np.float32)
        flat_RD[self.features_rows_F] = self.features_FD
        return flat_RD.reshape(num_tiles, patches, -1)

    def rounded(self, target: str) -> NDArray[np.float32]:
        """Logits with the weights of a target (ort, trt)."""
        return {"ort": self.rounded_logits_KV, "trt": self.rounded_logits_trt_KV}[target]

    @property
    def peaks(self) -> Peaks:
        return dict(zip(self.range_names.tolist(), self.range_peaks.tolist(), strict=True))

    def save(self, path: str | Path) -> None:
        """Write an .npz (compressed, no pickle). Raises OSError as the disk does."""
        with open(path, "wb") as stream:
            np.savez_compressed(stream, **{field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def load(cls, path: str | Path) -> Reference:
        """Raises OVError (BUNDLE_INVALID) for a file that is not one of `save`."""
        try:
            with np.load(path, allow_pickle=False) as arrays:
                known = {field.name: arrays[field.name] for field in fields(cls) if field.name in arrays}
                return cls(**{**_absent(known["logits_KV"].shape[1]), **known})
        except _DAMAGED as err:
            raise OVError(
                ExitCode.BUNDLE_INVALID, f"{Path(path).name} can't be read: {err}", "build the bundle again"
            ) from err


def _absent(vocabulary: int) -> dict[str, NDArray[Any]]:
    """What older files lack."""
    return {
        "rounded_logits_trt_KV": np.zeros((0, vocabulary), np.float32),
        "range_names": np.zeros(0, "U1"),
        "range_peaks": np.zeros(0, np.float32),
    }


def make_reference(
    checkpoint: TensorFolder,
    *,
    seed: int = 0,
    policies: Mapping[str, Policy] | None = None,
    progress: Progress | None = None,
) -> Reference:
    """Ask PyTorch, in float32 whatever the weights are stored in.

    With the policies of an int8 or int4 bundle, by target, the language model is asked again, its weights rounded as
    there.
    Peak memory is the mapped pages of the weights plus about 0.3 GB at the real shapes.
    """
    report = progress or (lambda step, done, total: None)
    probe = make_probe(checkpoint.config, seed)
    peaks: Peaks = {}
    with torch.device("meta"):
        model = OneVision(checkpoint.config).eval()
    with torch.no_grad():
        report("vision tower", 0, STEPS)
        features_NPD = _features(checkpoint, probe, peaks)
        report("projector", 1, STEPS)
        image_embeds_TD = _image_embeds(model, checkpoint, features_NPD, probe, peaks)
        report("language model", 2, STEPS)
        model.language_model = load_language_model(checkpoint)
        logits_KV, greedy_ids = _logits(model, image_embeds_TD, probe, peaks)
        report("language model, weights rounded", 3, STEPS)
        rounded = [_rounded_logits(model, image_embeds_TD, probe, (policies or {}).get(t)) for t in ("ort", "trt")]
        report("language model", STEPS, STEPS)
    rows_F = _rows_used(probe)
    return Reference(
        pixels_NCHW=probe.pixels_NCHW,
        indices_T4=probe.plan.indices_T4,
        weights_T4=probe.plan.weights_T4,
        input_ids_S=probe.input_ids_S,
        embed_index_S=probe.embed_index_S,
        prompt_tokens=np.array(probe.prompt_tokens),
        logits_positions_K=probe.logits_positions_K,
        seed=np.array(seed),
        features_rows_F=rows_F,
        features_FD=features_NPD.flatten(0, 1)[torch.from_numpy(rows_F)].numpy(),
        patches=np.array(features_NPD.shape[1]),
        image_embeds_TD=image_embeds_TD.numpy(),
        logits_KV=logits_KV.numpy(),
        rounded_logits_KV=rounded[0].numpy(),
        rounded_logits_trt_KV=rounded[1].numpy(),
        greedy_ids_G=np.array(greedy_ids, np.int64),
        range_names=np.array(list(peaks)),
        range_peaks=np.array(list(peaks.values()), np.float32),
        torch_version=np.array(torch.__version__),
    )


def _features(checkpoint: TensorFolder, probe: Probe, peaks: Peaks) -> torch.Tensor:
    with weights_upcast(load_vision_tower(checkpoint)) as tower, watched(tower, "vision_tower", peaks):
        return torch.cat([tower(tile_1CHW) for tile_1CHW in torch.from_numpy(probe.pixels_NCHW).split(1)])


def _image_embeds(
    model: OneVision, checkpoint: TensorFolder, features_NPD: torch.Tensor, probe: Probe, peaks: Peaks
) -> torch.Tensor:
    model.projector = load_projector(checkpoint)
    model.image_newline = nn.Parameter(checkpoint.tensor("image_newline"), requires_grad=False)
    with weights_upcast(model.projector), watched(model.projector, "projector", peaks):
        image_embeds_TD = model.pool(features_NPD, probe.plan)
    model.projector.to("meta")
    return image_embeds_TD


def _logits(
    model: OneVision, image_embeds_TD: torch.Tensor, probe: Probe, peaks: Peaks
) -> tuple[torch.Tensor, list[int]]:
    """Logits of the kept positions in one pass without a cache, and a greedy answer to the prompt with one."""
    language_model = model.language_model
    with weights_upcast(language_model):
        embeds_1SD = model.merge(*_prompt(probe, image_embeds_TD))
        with watched(language_model, "language_model", peaks):
            hidden_SD = language_model(embeds_1SD)[0]
        hidden_KD = hidden_SD[torch.from_numpy(probe.logits_positions_K)]
        logits_KV = language_model.logits(hidden_KD)
        note_head(peaks, hidden_KD, logits_KV)
        return logits_KV, _greedy(model, embeds_1SD[:, : probe.prompt_tokens])


def _rounded_logits(
    model: OneVision, image_embeds_TD: torch.Tensor, probe: Probe, policy: Policy | None
) -> torch.Tensor:
    if policy is None or not has_rounded_decoder(policy):
        return torch.zeros(0, model.config.language.vocab_size)
    positions_K = torch.from_numpy(probe.logits_positions_K)
    return rounded_logits(model, policy, *_prompt(probe, image_embeds_TD), positions_K)


def _prompt(probe: Probe, image_embeds_TD: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    ids_1S, index_1S = torch.from_numpy(probe.input_ids_S)[None], torch.from_numpy(probe.embed_index_S)[None]
    return ids_1S, image_embeds_TD, index_1S


def _greedy(model: OneVision, embeds_1SD: torch.Tensor) -> list[int]:
    """Always GREEDY_TOKENS of them: an end-of-sequence id is a token like any other here."""
    cache: KVCache = []
    ids: list[int] = []
    while len(ids) < GREEDY_TOKENS:
        hidden_1SD = model.language_model(embeds_1SD, cache=cache)
        ids.append(int(model.language_model.logits(hidden_1SD[:, -1]).argmax()))
        embeds_1SD = model.language_model.embed(torch.tensor([[ids[-1]]]))
    return ids


def _rows_used(probe: Probe) -> NDArray[np.int64]:
    """Source rows that some token takes with a weight, the newline left out."""
    rows = np.unique(probe.plan.indices_T4[probe.plan.weights_T4 != 0]).astype(np.int64)
    return rows[rows < probe.plan.newline_row]
