"""What somebody asks, as the arguments of `Session.generate` say it: a conversation, its media, and how to see them.

Checks what can be wrong without opening anything. Knows no pixels, no ids and no model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ovengines.errors import ExitCode, OVError
from ovrun.limits import check_limit
from ovrun.media.clip import FrameSampling, VideoSource
from ovrun.media.image import ImageSource
from ovrun.options import GenerationOptions, make_options
from ovrun.prompt.media import take_media
from ovrun.prompt.messages import DEFAULT_SYSTEM, conversation

_SAMPLING = ("num_frames", "fps", "max_frames")
_TILING = ("max_tiles", "anyres_multi")


@dataclass(frozen=True, kw_only=True)
class Seeing:
    """`sampling`: which frames of a video are looked at. `max_tiles` allows only grids of so many tiles.

    `anyres_multi` tiles each of several images, of which the model was trained to get one view.
    """

    sampling: FrameSampling = field(default_factory=FrameSampling)
    max_tiles: int | None = None
    anyres_multi: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Ask:
    """A conversation with places for its media, and the media, in the order of the places of their kind."""

    messages: Sequence[Mapping[str, Any]]
    images: Sequence[ImageSource] = ()
    videos: Sequence[VideoSource] = ()
    seeing: Seeing = field(default_factory=Seeing)

    @property
    def is_tiled(self) -> bool:
        """Whether its images are tiled: only one alone, as in training, unless all are asked to be."""
        return len(self.images) == 1 or self.seeing.anyres_multi


def split_options(options: Mapping[str, Any]) -> tuple[Seeing, GenerationOptions]:
    """How to see, where None is as good as not given, and how to decode. Raises OVError (USAGE) for no sense."""
    sampling = FrameSampling(**_given(options, _SAMPLING))
    decoding = {name: value for name, value in options.items() if name not in (*_SAMPLING, *_TILING)}
    return Seeing(sampling=sampling, **_given(options, _TILING)), make_options(decoding)


def _given(options: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: options[name] for name in names if options.get(name) is not None}


def ask_about(
    prompt: str, images: Sequence[ImageSource], video: VideoSource | None, system: str | None, seeing: Seeing
) -> Ask:
    """One question; `system` as in `Session.generate`. Raises OVError for arguments of another kind or too many."""
    if not isinstance(images, (list, tuple)):
        raise OVError(ExitCode.USAGE, "images should be a list, even of one", "write images=[...]")
    if not isinstance(prompt, str):
        raise OVError(ExitCode.USAGE, f"the prompt is {type(prompt).__name__}, not text", "give a string")
    check_limit("images", len(images), "there are")
    check_limit("prompt_chars", len(prompt) + len(system or ""), "the prompt has")
    turns = conversation(prompt, len(images), video is not None, DEFAULT_SYSTEM if system is None else system)
    return Ask(messages=turns, images=images, videos=() if video is None else (video,), seeing=seeing)


def ask_in(messages: Sequence[Mapping[str, Any]], seeing: Seeing) -> Ask:
    """The question that ends a conversation whose messages carry their media. Raises OVError as `take_media`."""
    bare, media = take_media(messages)
    return Ask(messages=bare, images=media["image"], videos=media["video"], seeing=seeing)
