"""Answers of a checkpoint in PyTorch, in float32 whatever its weights are stored in.

Tiles, template, tokenizer and ids are the runtime's, so that a bundle differs from this in its arithmetic alone.

Axes: S positions of the prompt, N tiles, C channels, H W pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray

from ovengines import check_device
from ovengines.errors import ExitCode, OVError
from ovexport.checkpoint import Checkpoint, load_model
from ovexport.evaluate.answerer import About, Answer, How
from ovexport.model import OneVision
from ovrun.media.image import ImageSource, load_image
from ovrun.prompt.compose import encode_conversation
from ovrun.prompt.expand import expand
from ovrun.prompt.messages import Message, conversation, media_kinds
from ovrun.prompt.tokenizer import Tokenizer
from ovrun.vision.views import View, cap_tiles, make_video_view, make_view

Views = dict[str, list[View]]  # of "image" and of "video"


class TorchAnswerer:
    def __init__(self, checkpoint: Checkpoint, how: How) -> None:
        """Closes the checkpoint once its weights are copied. Raises OVError as `check_device` and `cap_tiles` do."""
        device = _torch_device(how)
        if how.threads is not None:
            torch.set_num_threads(how.threads)
        config = checkpoint.config
        self._config, self._template, self._device = config, checkpoint.chat_template, device
        self._geometry = config.geometry if how.max_tiles is None else cap_tiles(config.geometry, how.max_tiles)
        self._tokenizer = _tokenizer(checkpoint.tokenizer_json)
        self._model: OneVision | None = load_model(checkpoint, torch.float32).to(device)
        self.about = About(source=checkpoint.name, kind="pytorch", precision="fp32", engine=f"torch-{device.type}")
        checkpoint.close()

    def answer(
        self, images: Sequence[ImageSource], frames: Sequence[ImageSource], prompt: str, max_new_tokens: int
    ) -> Answer:
        if self._model is None:
            raise OVError(ExitCode.USAGE, "the answerer is closed", "open another one")
        views = self._views(images, frames)
        turns = conversation(prompt, len(images), len(views["video"]))
        ids_S = self._ids(turns, views)
        room = self._config.language.max_positions - len(ids_S)
        if room < 1:
            raise OVError(ExitCode.LIMIT_EXCEEDED, f"the prompt of {len(ids_S):,} tokens fills the model's context")
        placed = list(_by_place(views, media_kinds(turns)))
        new_ids = self._model.generate(
            torch.from_numpy(ids_S).to(self._device),
            torch.cat([torch.from_numpy(view.pixels_TCHW) for view in placed]).to(self._device) if placed else None,
            [view.plan for view in placed],
            max_new_tokens=min(room, max_new_tokens),
        )
        return self._tokenizer.decode(new_ids), tuple(new_ids)

    def close(self) -> None:
        self._model = None

    def _views(self, images: Sequence[ImageSource], frames: Sequence[ImageSource]) -> Views:
        return {
            "image": [make_view(load_image(image), self._geometry, alone=len(images) == 1) for image in images],
            "video": [make_video_view(map(load_image, frames), self._geometry)] if frames else [],
        }

    def _ids(self, turns: list[Message], views: Views) -> NDArray[np.int64]:
        """Ids as the session reads them, but with the image token at visual positions, as `OneVision` wants it."""
        config = self._config
        prompt = expand(
            encode_conversation(turns, self._template, self._tokenizer),
            config.image_token_id,
            [view.plan.num_tokens for view in views["image"]],
            config.pad_token_id,
            video_token_id=config.video_token_id,
            tokens_per_video=[view.plan.num_tokens for view in views["video"]],
        )
        return np.where(prompt.embed_index_S >= 0, config.image_token_id, prompt.ids_S)


def _by_place(views: Views, kinds: Sequence[str]) -> Iterator[View]:
    """In the order of their places in the prompt, in which `OneVision` takes visual tokens."""
    left = {kind: iter(of_kind) for kind, of_kind in views.items()}
    return (next(left[kind]) for kind in kinds)


def _tokenizer(tokenizer_json: bytes) -> Tokenizer:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "tokenizer.json"
        path.write_bytes(tokenizer_json)
        return Tokenizer(path)


def _torch_device(how: How) -> torch.device:
    has_cuda = torch.cuda.is_available()
    if how.device == "cuda" and not has_cuda:
        raise OVError(ExitCode.MISSING_DEPENDENCY, "device cuda: PyTorch finds no such device", "leave --device out")
    check_device("cpu" if how.device == "cuda" else how.device, how.threads)
    return torch.device("cuda" if has_cuda and how.device in ("auto", "cuda") else "cpu")
