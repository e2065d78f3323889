"""The two published checkpoints that stage 1 starts from, opened and checked: Qwen2-Instruct and SigLIP.

Knows their config.json and the names of their tensors. Both are read as they were published: what the model here does
without (SigLIP's last layer, its pooling head, its text half) is dropped by `assemble.py`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

import torch
from torch import nn

from ovengines.errors import OVError
from ovexport.checkpoint.fit import HEAD, check_tensors, is_tied, module_shapes
from ovexport.checkpoint.hf_config import read_vision_config
from ovexport.checkpoint.json_fields import Fields
from ovexport.checkpoint.language_config import declared_tie, read_language_config
from ovexport.checkpoint.layouts import Layout
from ovexport.checkpoint.locate import locate
from ovexport.checkpoint.tensor_files import TensorFiles
from ovexport.model.config import LanguageConfig, VisionConfig
from ovexport.model.qwen2 import LanguageModel
from ovexport.model.siglip import VisionTower

C = TypeVar("C", LanguageConfig, VisionConfig)

# Neither of the two has a projector or a newline, so those names are never asked for.
_LAYOUT = Layout(
    name="Qwen2 and SigLIP",
    family="parts",
    vision="vision_model.",
    projector=("projector.linear_1.", "projector.linear_2."),
    image_newline="image_newline",
    language="model.",
    head="lm_head.",
)
_BARE = dataclasses.replace(_LAYOUT, vision="")  # what transformers 5 writes of a SiglipVisionModel alone
_LANGUAGE_HINT = "give a Qwen2-Instruct model, such as Qwen/Qwen2-0.5B-Instruct"
_VISION_HINT = "give a SigLIP model, such as google/siglip-so400m-patch14-384"


@dataclass(frozen=True, kw_only=True, eq=False)
class Part(Generic[C]):
    """One of the two, as published. Tensors go by the parameter names of `OneVision`."""

    config: C
    folder: Path
    files: TensorFiles
    layout: Layout

    def tensor(self, name: str) -> torch.Tensor:
        """In its stored dtype, mapped, not to be written to."""
        return self.files.tensor(self.layout.file_name(name))


@contextmanager
def said_of(what: str) -> Iterator[None]:
    """Two checkpoints are open: errors say which of them they mean."""
    try:
        yield
    except OVError as err:
        raise OVError(err.code, f"{what}: {err.message}", err.hint) from err


def open_language(path_or_hub_id: str | Path) -> Part[LanguageConfig]:
    """Raises OVError (BAD_INPUT) for anything but a Qwen2 whose tensors fit its config.json."""
    folder = locate(path_or_hub_id).folder
    top = Fields.read(folder / "config.json")
    top.require("model_type", None, among=("qwen2",), hint=_LANGUAGE_HINT)
    files = TensorFiles(folder)
    tied = is_tied(_LAYOUT, files, declared_tie(top, top))
    config = read_language_config(top, tied=tied)
    wanted = _wanted(_LAYOUT, "language_model.", partial(LanguageModel, config))
    optional = {_LAYOUT.file_name(HEAD)} if tied else set()
    check_tensors(wanted, files, unexpected=set(files.names()) - wanted.keys() - optional, naming="Qwen2")
    return Part(config=config, folder=folder, files=files, layout=_LAYOUT)


def open_vision(path_or_hub_id: str | Path) -> Part[VisionConfig]:
    """The whole SigLIP or its vision half. Raises OVError (BAD_INPUT) for anything else."""
    folder = locate(path_or_hub_id).folder
    top = Fields.read(folder / "config.json")
    top.require("model_type", None, among=("siglip", "siglip_vision_model"), hint=_VISION_HINT)
    fields = top.object("vision_config") if top.text("model_type") == "siglip" else top
    config = read_vision_config(fields, has_post_layernorm=True)
    files = TensorFiles(folder)
    layout = _LAYOUT if any(name.startswith(_LAYOUT.vision) for name in files.names()) else _BARE
    wanted = _wanted(layout, "vision_tower.", partial(VisionTower, config))
    layers = layout.file_name("vision_tower.layers.")
    more_layers = [name for name in files.names() if name.startswith(layers) and name not in wanted]
    check_tensors(wanted, files, unexpected=more_layers, naming="SigLIP")
    return Part(config=config, folder=folder, files=files, layout=layout)


def _wanted(layout: Layout, prefix: str, build: Callable[[], nn.Module]) -> dict[str, tuple[int, ...]]:
    return {layout.file_name(prefix + name): shape for name, shape in module_shapes(build).items()}
