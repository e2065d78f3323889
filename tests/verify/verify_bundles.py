"""Bundles of small random models, built without a checkpoint on disk: what the tests of verification run on."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch

from ovengines.bundle.manifest import LAYOUT_VERSION, SEMANTICS_VERSION, Geometry, Manifest, ModelSpec
from ovengines.bundle.reader import Bundle, open_bundle
from ovengines.bundle.writer import BundleWriter
from ovexport.graphs.table import build_graph, graph_spec, rows_for
from ovexport.graphs.write import write_graph
from ovexport.model import LanguageConfig, OneVision, OneVisionConfig, VisionConfig
from ovexport.precision.policy import PRECISIONS

TILE_PX = 104
IMAGE_ID, VIDEO_ID, PAD_ID, EOS_ID = 5, 6, 0, 1


class RandomCheckpoint:
    """The part of a checkpoint that graphs and the reference read."""

    def __init__(self, model: OneVision) -> None:
        self.config = model.config
        self._tensors = {name: parameter.detach() for name, parameter in model.named_parameters()}

    def names(self) -> list[str]:
        return list(self._tensors)

    def tensor(self, name: str) -> torch.Tensor:
        return self._tensors[name]

    def set(self, name: str, tensor: torch.Tensor) -> None:
        assert self._tensors[name].shape == tensor.shape
        self._tensors[name] = tensor

    def copy(self) -> RandomCheckpoint:
        twin = object.__new__(RandomCheckpoint)
        twin.config, twin._tensors = self.config, dict(self._tensors)
        return twin


def small_config(
    *,
    layers: int = 2,
    tied: bool = True,
    vocabulary: int = 512,
    hidden: int = 96,
    intermediate: int = 160,
    heads: int = 6,
) -> OneVisionConfig:
    """Heads 6 over 2; a width of 96 fills blocks of 32, the intermediate of the tower (144) does not."""
    pinpoints = tuple((TILE_PX * rows, TILE_PX * columns) for rows in range(1, 4) for columns in range(1, 4))
    return OneVisionConfig(
        vision=VisionConfig(
            hidden=96, intermediate=144, num_layers=layers, num_heads=4, image_size_px=TILE_PX, patch_size_px=14
        ),
        language=LanguageConfig(
            vocab_size=vocabulary,
            hidden=hidden,
            intermediate=intermediate,
            num_layers=layers,
            num_heads=heads,
            num_kv_heads=2,
            head_dim=16,
            max_positions=512,
            tie_word_embeddings=tied,
            rope_theta=1e4,
        ),
        geometry=Geometry(
            image_size_px=TILE_PX, patch_size_px=14, grid_pinpoints=pinpoints, max_tiles=9, unpad_rounding="hf"
        ),
        image_token_id=IMAGE_ID,
        video_token_id=VIDEO_ID,
        pad_token_id=PAD_ID,
        eos_token_ids=(EOS_ID,),
    )


def random_checkpoint(
    config: OneVisionConfig, seed: int, dtype: torch.dtype = torch.float32, gain: float = 1.0
) -> RandomCheckpoint:
    """Weights of gain / sqrt(K), which keeps a signal's size, so that attention is not flat; norms and biases too."""
    torch.manual_seed(seed)
    model = OneVision(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 and "embed" not in name:
                parameter.normal_(std=gain * parameter[0].numel() ** -0.5)
            else:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return RandomCheckpoint(model.to(dtype))


def make_bundle(checkpoint: RandomCheckpoint, folder: Path, precision: str, target: str = "ort") -> Bundle:
    """Write and open a bundle; its tokenizer and template are no concern here and left out."""
    config, policy = checkpoint.config, PRECISIONS[target][precision]
    graphs = []
    with BundleWriter(folder) as writer:
        for row in rows_for(target, policy):
            graph = build_graph(row, config, policy, checkpoint.tensor)
            write_graph(graph, writer.folder, row.file, weights_in=row.weights_in)
            graphs.append(graph_spec(row, graph))
        manifest = Manifest(
            layout_version=LAYOUT_VERSION,
            semantics_version=SEMANTICS_VERSION,
            created_by="tests",
            source="random <b>model</b>",
            source_revision=None,
            source_sha256="0" * 64,
            precision=precision,
            model=model_spec(config),
            graphs=tuple(graphs),
            files=writer.file_specs(),
        )
        writer.seal(manifest)
        return open_bundle(writer.publish())


def model_spec(config: OneVisionConfig) -> ModelSpec:
    shared = {f.name for f in dataclasses.fields(ModelSpec)}
    language = {k: v for k, v in dataclasses.asdict(config.language).items() if k in shared}
    return ModelSpec(
        name="random",
        vision_hidden=config.vision.hidden,
        image_token_id=config.image_token_id,
        video_token_id=config.video_token_id,
        pad_token_id=config.pad_token_id,
        eos_token_ids=config.eos_token_ids,
        geometry=config.geometry,
        **language,
    )
