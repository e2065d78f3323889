"""A checkpoint, opened: folder or Hub id -> config, tokenizer, template, and tensors one at a time.

Joins the modules of this package; each of them knows one kind of file. Tensors stay mapped from disk in their
stored dtype and are named as the parameters of `ovexport.model.OneVision`.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from tokenizers import Tokenizer

from ovexport.checkpoint.chat_template import read_chat_template
from ovexport.checkpoint.fit import check_fit, is_tied, model_shapes, own_shapes
from ovexport.checkpoint.hf_config import read_hf_config
from ovexport.checkpoint.json_fields import Fields, bad_checkpoint
from ovexport.checkpoint.language_config import declared_tie
from ovexport.checkpoint.layouts import Layout, detect_layout
from ovexport.checkpoint.llava_config import read_llava_config
from ovexport.checkpoint.locate import locate
from ovexport.checkpoint.tensor_files import TensorFiles
from ovexport.checkpoint.tokenizer import (
    IMAGE_TOKEN,
    VIDEO_TOKEN,
    SpecialIds,
    find_special_ids,
    load_tokenizer,
    place_token,
    tokenizer_json,
)
from ovexport.model.config import OneVisionConfig

_MODEL_TYPES = {"hf": ("llava_onevision",), "llava": ("llava", "llava_qwen", "qwen2")}
_HF_IMAGE_ID, _HF_VIDEO_ID = 151646, 151647  # class defaults of LlavaOnevisionConfig


class Checkpoint:
    """What `open_checkpoint` returns. Tensors are views of the mapped files: reading one costs its pages only."""

    def __init__(
        self,
        *,
        name: str,
        revision: str | None,
        layout: Layout,
        config: OneVisionConfig,
        files: TensorFiles,
        tokenizer: bytes,
        chat_template: str,
    ) -> None:
        self.name = name  # Hub id or folder name
        self.revision = revision  # commit of a Hub id, None for a folder
        self.layout = layout
        self.config = config
        self.tokenizer_json = tokenizer
        self.chat_template = chat_template
        self._files = files
        self._shapes = model_shapes(config)

    def names(self) -> list[str]:
        """Names of the model's parameters, in its order; a tied head is not among them."""
        return list(self._shapes)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._shapes[name]

    def dtype(self, name: str) -> torch.dtype:
        return self._files.dtype(self.layout.file_name(name))

    def tensor(self, name: str) -> torch.Tensor:
        """One tensor in its stored dtype, mapped, not to be written to. KeyError for a name not in `names()`."""
        if name not in self._shapes:
            raise KeyError(name)
        return self._files.tensor(self.layout.file_name(name))

    @property
    def tensor_bytes(self) -> int:
        """Bytes of all tensors in `names()` as they are stored."""
        return sum(math.prod(shape) * self.dtype(name).itemsize for name, shape in self._shapes.items())

    def sha256(self) -> str:
        """Hash of the weight files; reads them once."""
        return self._files.sha256()

    def close(self) -> None:
        self._files.close()

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_checkpoint(path_or_hub_id: str | Path, revision: str | None = None) -> Checkpoint:
    """Open a folder, or a Hub id that is no folder here, and check that all of it fits together.

    Layouts: transformers' (4.x and 5.x) and LLaVA-NeXT's, told apart by the names of the tensors. Raises
    OVError (BAD_INPUT, or USAGE for a revision of a folder) with one sentence and a hint; see the modules
    that it calls.
    """
    located = locate(path_or_hub_id, revision)
    return _open_folder(located.folder, located.name, located.revision)


def _open_folder(folder: Path, name: str, revision: str | None) -> Checkpoint:
    top = Fields.read(folder / "config.json")
    files = TensorFiles(folder)
    layout = detect_layout(files.names())
    top.require("model_type", None, among=_MODEL_TYPES[layout.family], hint="only LLaVA-OneVision is exported")
    tokenizer = load_tokenizer(folder)
    tokens_in_file = tokenizer.get_vocab_size()
    special = _place_specials(folder, top, layout, tokenizer)
    tied = is_tied(layout, files, declared_tie(_text_fields(top, layout), top))
    config = _read_config(folder, top, layout, files, special, tied)
    check_fit(config, layout, files)
    _check_ids(config, tokenizer)
    unchanged = (folder / "tokenizer.json").is_file() and tokenizer.get_vocab_size() == tokens_in_file
    return Checkpoint(
        name=name,
        revision=revision,
        layout=layout,
        config=config,
        files=files,
        tokenizer=(folder / "tokenizer.json").read_bytes() if unchanged else tokenizer_json(tokenizer),
        chat_template=read_chat_template(folder, has_video_token=special.video is not None),
    )


def _text_fields(top: Fields, layout: Layout) -> Fields:
    return top if layout.family == "llava" else top.object("text_config")


def _read_config(
    folder: Path, top: Fields, layout: Layout, files: TensorFiles, special: SpecialIds, tied: bool
) -> OneVisionConfig:
    shapes = own_shapes(layout, files)
    if layout.family == "llava":
        return read_llava_config(folder, top, special, shapes, tied=tied)
    has_norm = "vision_tower.post_layernorm.weight" in shapes
    return read_hf_config(folder, top, special, tied=tied, has_post_layernorm=has_norm)


def _place_specials(folder: Path, top: Fields, layout: Layout, tokenizer: Tokenizer) -> SpecialIds:
    """The image token at the id that config.json gives it. LLaVA-NeXT may give none, or its marker -200."""
    if layout.family == "llava":
        wanted = top.integer("image_token_index", -1)
        image = place_token(tokenizer, IMAGE_TOKEN, wanted if wanted >= 0 else None)
        return find_special_ids(folder, top, tokenizer, image, None)
    image = place_token(tokenizer, IMAGE_TOKEN, top.integer("image_token_index", _HF_IMAGE_ID))
    video = place_token(tokenizer, VIDEO_TOKEN, top.integer("video_token_index", _HF_VIDEO_ID))
    return find_special_ids(folder, top, tokenizer, image, video)


def _check_ids(config: OneVisionConfig, tokenizer: Tokenizer) -> None:
    """Rows beyond the tokenizer are padding and fine; ids beyond the rows are not (visual tokens need no row)."""
    rows = config.language.vocab_size
    visual = {config.image_token_id, config.video_token_id}
    highest = max(set(tokenizer.get_vocab(with_added_tokens=True).values()) - visual, default=0)
    if (top_id := max(highest, config.pad_token_id, *config.eos_token_ids)) >= rows:
        raise bad_checkpoint(
            f"the tokenizer has ids up to {top_id}, but the embedding table has only {rows} rows",
            "tokenizer and weights are of different models",
        )
