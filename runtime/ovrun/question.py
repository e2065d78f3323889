"""From what somebody asks to everything that is settled before a graph runs: sights, prompt, options, warnings.

Joins media, tiling, template and vision; knows no cache and no decoding. Axes: S positions of the prompt.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ovengines.bundle.manifest import Geometry, ModelSpec
from ovengines.errors import ExitCode, OVError
from ovrun.ask import Ask
from ovrun.decode.prompt import Look, Prompt, make_prompt
from ovrun.limits import check_limit
from ovrun.media.clip import FrameSampling, VideoSource, load_clip
from ovrun.media.image import ImageSource, load_image
from ovrun.options import GenerationOptions
from ovrun.progress import Progress, told
from ovrun.prompt.compose import encode_conversation
from ovrun.prompt.expand import expand
from ovrun.prompt.tokenizer import Tokenizer
from ovrun.stopwatch import Stopwatch
from ovrun.vision.sight import Sight, Vision
from ovrun.vision.views import cap_tiles


@dataclass(frozen=True, kw_only=True, eq=False)
class Question:
    """One prompt with its options, to be answered in a row. `clock` has what has been spent on it so far."""

    prompt: Prompt
    options: GenerationOptions
    asked_new_tokens: int  # before the context cut it
    num_tiles: int
    warnings: tuple[str, ...]
    clock: Stopwatch


Known = dict[int, tuple[object, tuple[object, ...], Sight]]  # by id of a source: the source, how it was seen, the sight


class Desk:
    """Where the questions to one model are made ready."""

    def __init__(
        self, model: ModelSpec, tokenizer: Tokenizer, template: str, vision: Vision, context_tokens: int
    ) -> None:
        self.model, self.tokenizer, self.template, self.vision = model, tokenizer, template, vision
        self.context_tokens = context_tokens

    def question(
        self, ask: Ask, options: GenerationOptions, on_progress: Progress, known: Known | None = None
    ) -> Question:
        """`known` spares a conversation the opening of media that it has shown before: sights are put in and found.

        `on_progress` is called while media are opened, and by the prompt's `look`; what it raises ends that.
        Raises OVError: USAGE, BAD_INPUT or LIMIT_EXCEEDED, with what to do about it.
        """
        clock, known = Stopwatch(), {} if known is None else known
        check_limit("images", len(ask.images), "there are")
        geometry, warnings = self._geometry(ask)
        tiled, sampling = ask.is_tiled, ask.seeing.sampling
        images = [
            _once(known, source, (tiled, geometry), partial(self._image, source, geometry, tiled, clock))
            for source in told(ask.images, "opening the images", on_progress)
        ]
        clips = [
            _once(known, source, (sampling,), partial(self._clip, source, sampling, warnings, clock, on_progress))
            for source in ask.videos
        ]
        _forget_others(known, [*ask.images, *ask.videos])
        sights = [*images, *clips]
        with clock.stage("prompt"):
            prompt = self.prompt(ask.messages, images, clips, partial(self.look, sights, clock, on_progress))
        return self.settled(prompt, options, sights, warnings, clock)

    def settled(
        self,
        prompt: Prompt,
        options: GenerationOptions,
        sights: Sequence[Sight],
        warnings: Sequence[str],
        clock: Stopwatch,
    ) -> Question:
        """The question that a prompt is, with no more new tokens than the context has room for."""
        room = self._room(prompt)
        return Question(
            prompt=prompt,
            options=dataclasses.replace(options, max_new_tokens=min(options.max_new_tokens, room)),
            asked_new_tokens=options.max_new_tokens,
            num_tiles=sum(sight.num_tiles for sight in sights),
            warnings=(*warnings, *options.idle()),
            clock=clock,
        )

    def _geometry(self, ask: Ask) -> tuple[Geometry, list[str]]:
        geometry, max_tiles, warnings = self.model.geometry, ask.seeing.max_tiles, []
        if ask.seeing.anyres_multi and len(ask.images) > 1:
            warnings.append("anyres_multi: several tiled images are not what the model was trained with")
        if max_tiles is None:
            return geometry, warnings
        if not (ask.images and ask.is_tiled):
            return geometry, [*warnings, "max_tiles without effect: only an image alone is tiled"]
        capped = cap_tiles(geometry, max_tiles)
        if capped != geometry:
            warnings.append(f"max_tiles is {max_tiles}: not what the model was trained with, details may be lost")
        return capped, warnings

    def _image(self, source: ImageSource, geometry: Geometry, alone: bool, clock: Stopwatch) -> Sight:
        """One after the other: of each only the tiles are kept."""
        with clock.stage("decode_image"):
            image = load_image(source)
        with clock.stage("tile"):
            return self.vision.image(image, geometry, alone=alone)

    def _clip(
        self,
        source: VideoSource,
        sampling: FrameSampling,
        warnings: list[str],
        clock: Stopwatch,
        on_progress: Progress,
    ) -> Sight:
        with clock.stage("decode_image"):
            clip = load_clip(source, sampling, on_progress)
        warnings += clip.warnings
        with clock.stage("tile"):
            return self.vision.clip(clip.frames, self.model.geometry)

    def prompt(
        self, messages: Sequence[Mapping[str, Any]], images: Sequence[Sight], clips: Sequence[Sight], look: Look
    ) -> Prompt:
        """The prompt of a conversation whose media have become sights. `look` as in `Prompt`."""
        marked_ids = encode_conversation(messages, self.template, self.tokenizer)
        sights = [*images, *clips]
        check_limit("prompt_tokens", len(marked_ids) + sum(sight.num_tokens for sight in sights), "the prompt has")
        ids = expand(
            marked_ids,
            self.model.image_token_id,
            [sight.num_tokens for sight in images],
            self.model.pad_token_id,
            video_token_id=self.model.video_token_id,
            tokens_per_video=[sight.num_tokens for sight in clips],
        )
        tokens_of_sight = [sight.num_tokens for sight in sights]
        return make_prompt(ids, marked_ids, tokens_of_sight, [sight.digest for sight in sights], look)

    def look(
        self, sights: Sequence[Sight], clock: Stopwatch, on_progress: Progress, needed: Sequence[int]
    ) -> NDArray[np.float32]:
        """The visual tokens [T, D] of the sights of these numbers."""
        report = partial(on_progress, "looking at the tiles")
        return self.vision.tokens([sights[number] for number in needed], clock, report)

    def _room(self, prompt: Prompt) -> int:
        """How many new tokens fit the context after this prompt."""
        context = self.context_tokens
        if prompt.num_tokens > context - 1:
            raise OVError(
                ExitCode.LIMIT_EXCEEDED,
                f"the prompt has {prompt.num_tokens:,} tokens ({prompt.num_visual:,} of them from images or frames),"
                f" over the {context - 1:,} that the model's context of {context:,} leaves room for",
                "use a smaller image, --max-tiles (max_tiles=), fewer images or frames, or a shorter prompt",
            )
        return context - prompt.num_tokens


def given_up() -> Question:
    """What is known of a question that nobody wanted an answer to any more before it was settled: nothing."""
    prompt = make_prompt(expand([], image_token_id=0, tokens_per_image=[], pad_id=0), [], [], [], _look_nowhere)
    return Question(
        prompt=prompt, options=GenerationOptions(), asked_new_tokens=0, num_tiles=0, warnings=(), clock=Stopwatch()
    )


def _look_nowhere(sights: Sequence[int]) -> NDArray[np.float32]:
    raise RuntimeError("a question that was given up has nothing to look at")


def _once(known: Known, source: object, how: tuple[object, ...], see: Callable[[], Sight]) -> Sight:
    """The sight of this very source seen this way, made if need be. The source is held: its id must stay its own."""
    found = known.get(id(source))
    if found is not None and found[1] == how:
        return found[2]
    sight = see()
    known[id(source)] = source, how, sight
    return sight


def _forget_others(known: Known, sources: Sequence[object]) -> None:
    """What a conversation does not show any more, as after an edit, must not cost memory."""
    for number in known.keys() - set(map(id, sources)):
        del known[number]
