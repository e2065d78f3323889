"""Where stage 1 starts: a published Qwen2-Instruct and SigLIP joined to one LLaVA-OneVision, its projector random.

The tower loses its last layer and its pooling head; `<image>` and `<video>` join the tokenizer. The geometry is that of
the last stages, in transformers' rounding, so that every stage writes a folder that transformers reads.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from tokenizers import Tokenizer

from ovengines.bundle.manifest import Geometry
from ovexport.checkpoint.chat_template import builtin_template
from ovexport.checkpoint.fit import model_shapes
from ovexport.checkpoint.json_fields import bad_checkpoint
from ovexport.checkpoint.preprocessor import read_pixel_rules
from ovexport.checkpoint.published import Part, open_language, open_vision, said_of
from ovexport.checkpoint.tokenizer import (
    END_OF_TURN,
    IMAGE_TOKEN,
    PADDING,
    VIDEO_TOKEN,
    load_tokenizer,
    place_token,
    tokenizer_json,
)
from ovexport.model.config import LanguageConfig, OneVisionConfig, VisionConfig

ALL_GRIDS = tuple((rows, columns) for rows in range(1, 7) for columns in range(1, 7))
_VISUAL = (IMAGE_TOKEN, VIDEO_TOKEN)
_TABLES = ("language_model.embed_tokens.weight", "language_model.lm_head.weight")


@dataclass(frozen=True, kw_only=True, eq=False)
class Assembled:
    """A checkpoint that is in no folder yet, for `load_model` and whatever else takes a `TensorFolder`.

    Tensors are made or mapped when they are asked for, so a model is filled without a second copy of it.
    """

    config: OneVisionConfig
    tokenizer_json: bytes
    chat_template: str
    sources: Mapping[str, Callable[[], torch.Tensor]]

    def names(self) -> list[str]:
        """Names of the model's parameters, in its order."""
        return list(self.sources)

    def tensor(self, name: str) -> torch.Tensor:
        """In its stored dtype (float32 if fresh), not to be written to."""
        return self.sources[name]()


def assemble(
    language: str | Path,
    vision: str | Path,
    *,
    grids: tuple[tuple[int, int], ...] = ALL_GRIDS,
    max_tiles: int | None = 9,
    seed: int = 0,
) -> Assembled:
    """Join two folders or Hub ids. `grids` are the (rows, columns) of tiles that an image may have.

    `seed` makes the projector (as torch makes a linear layer) and the newline. A table without rows for `<image>` and
    `<video>` gets them, each the mean of its rows. Raises OVError (BAD_INPUT) that names the checkpoint and the file or
    tensor that does not fit.
    """
    with said_of(f"language model {language}"):
        text = open_language(language)
        tokenizer = load_tokenizer(text.folder)
        ids = _token_ids(tokenizer, text.config.vocab_size)
    with said_of(f"vision tower {vision}"):
        tower = open_vision(vision)
        geometry = _geometry(tower, grids, max_tiles)
        tower_config = _without_last_layer(tower.config)
    rows = max(text.config.vocab_size, ids[IMAGE_TOKEN] + 1, ids[VIDEO_TOKEN] + 1)
    config = OneVisionConfig(
        vision=tower_config,
        language=dataclasses.replace(text.config, vocab_size=rows),
        geometry=geometry,
        image_token_id=ids[IMAGE_TOKEN],
        video_token_id=ids[VIDEO_TOKEN],
        pad_token_id=ids[PADDING],
        eos_token_ids=(ids[END_OF_TURN],),
    )
    return Assembled(
        config=config,
        tokenizer_json=tokenizer_json(tokenizer),
        chat_template=builtin_template(has_video_token=True),
        sources=_sources(config, text, tower, seed),
    )


def _token_ids(tokenizer: Tokenizer, rows: int) -> dict[str, int]:
    """Ids of the four tokens with a meaning; the visual ones are added at the next free ids if they are not there."""
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    beyond = [token for token, token_id in vocabulary.items() if token_id >= rows and token not in _VISUAL]
    if beyond:
        raise bad_checkpoint(
            f"the tokenizer has {len(beyond)} tokens, such as {beyond[0]!r}, beyond the {rows} rows of the table",
            "tokenizer and weights are of different models",
        )
    if missing := [token for token in (END_OF_TURN, PADDING) if token not in vocabulary]:
        raise bad_checkpoint(f"the tokenizer has no token {missing[0]}", "give a Qwen2-Instruct model")
    ids = {token: vocabulary[token] for token in (END_OF_TURN, PADDING)}
    return ids | {token: place_token(tokenizer, token, None) for token in _VISUAL}


def _geometry(tower: Part[VisionConfig], grids: tuple[tuple[int, int], ...], max_tiles: int | None) -> Geometry:
    side_px = tower.config.image_size_px
    pixels = read_pixel_rules(tower.folder, side_px, None)
    return Geometry(
        image_size_px=side_px,
        patch_size_px=tower.config.patch_size_px,
        grid_pinpoints=tuple((rows * side_px, columns * side_px) for rows, columns in grids),
        max_tiles=max_tiles,
        unpad_rounding="hf",
        image_mean=pixels.image_mean,
        image_std=pixels.image_std,
        rescale_factor=pixels.rescale_factor,
    )


def _without_last_layer(published: VisionConfig) -> VisionConfig:
    if published.num_layers < 2:
        raise bad_checkpoint("its config.json has one layer, and the last one is not used", "give a whole SigLIP")
    return dataclasses.replace(published, num_layers=published.num_layers - 1)


def _sources(
    config: OneVisionConfig, text: Part[LanguageConfig], tower: Part[VisionConfig], seed: int
) -> dict[str, Callable[[], torch.Tensor]]:
    shapes = model_shapes(config)
    fresh = _fresh(config, shapes, seed)
    parts = {"language_model": text.tensor, "vision_tower": tower.tensor}

    def source(name: str) -> Callable[[], torch.Tensor]:
        if name in fresh:
            return fresh[name]
        whole = partial(parts[name.split(".")[0]], name)
        return partial(_with_rows, whole, shapes[name][0]) if name in _TABLES else whole

    return {name: source(name) for name in shapes}


def _with_rows(table: Callable[[], torch.Tensor], rows: int) -> torch.Tensor:
    """The table, or a longer copy whose new rows are the mean of the old: no logit of theirs stands out."""
    table_VD = table()
    if len(table_VD) == rows:
        return table_VD
    mean_1D = table_VD.mean(dim=0, keepdim=True, dtype=torch.float32).to(table_VD.dtype)
    return torch.cat([table_VD, mean_1D.expand(rows - len(table_VD), -1)])


def _fresh(
    config: OneVisionConfig, shapes: Mapping[str, tuple[int, ...]], seed: int
) -> dict[str, Callable[[], torch.Tensor]]:
    """The projector, uniform within 1/sqrt(inputs), and the newline, normal with 1/sqrt(width): as LLaVA-NeXT's are."""
    inputs = {"projector.linear_1": config.vision.hidden, "projector.linear_2": config.language.hidden}
    names = [name for name in shapes if name.startswith("projector.")]
    made = {
        name: partial(_uniform, shapes[name], inputs[name.rpartition(".")[0]] ** -0.5, (seed, number))
        for number, name in enumerate(names)
    }
    hidden = config.language.hidden
    return {**made, "image_newline": partial(_normal, (hidden,), hidden**-0.5, (seed, len(names)))}


def _uniform(shape: tuple[int, ...], bound: float, seeds: tuple[int, int]) -> torch.Tensor:
    return torch.empty(shape).uniform_(-bound, bound, generator=_generator(seeds))


def _normal(shape: tuple[int, ...], spread: float, seeds: tuple[int, int]) -> torch.Tensor:
    return torch.empty(shape).normal_(0, spread, generator=_generator(seeds))


def _generator(seeds: tuple[int, int]) -> torch.Generator:
    """One for each tensor, so that a tensor does not depend on which others were asked for before it."""
    seed, number = seeds
    return torch.Generator().manual_seed(8 * seed + number)
