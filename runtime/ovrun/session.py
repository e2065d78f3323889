"""An opened bundle that answers questions about images and video: media -> tiling -> prompt -> vision -> decode.

Joins the stages and times them; what each does is in the package of its name. One answer at a time per session.

Axes: S positions of the prompt, T visual tokens, D width, V vocabulary.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial
from os import PathLike
from types import TracebackType
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from ovengines import Bundle, Engine, check_device, open_bundle, open_engine
from ovengines.bundle.manifest import Geometry
from ovengines.errors import ExitCode, OVError
from ovrun.decode.loop import generate_tokens, prefill
from ovrun.decode.sampler import Sampler
from ovrun.decode.stream import Detokenizer, StopFilter
from ovrun.limits import check_limit
from ovrun.log import logger
from ovrun.media.image import ImageSource, load_image
from ovrun.options import GenerationOptions, make_options
from ovrun.prompt.compose import encode_conversation
from ovrun.prompt.expand import PromptIds, expand
from ovrun.prompt.messages import DEFAULT_SYSTEM, conversation
from ovrun.prompt.tokenizer import Tokenizer
from ovrun.result import ModelInfo, Result, TextStream, peak_memory_mb, versions
from ovrun.stopwatch import Stopwatch
from ovrun.vision.encode import encode_tiles, project_views
from ovrun.vision.views import View, cap_tiles, make_video_view, make_view

DEFAULT_PROMPT = "Describe this image."

Progress = Callable[[str, int, int], None]  # (what is being done, done, of)


def _no_progress(label: str, done: int, total: int) -> None:
    return None


@dataclass(frozen=True, kw_only=True, eq=False)
class _Question:
    """Everything that is settled before the first graph runs."""

    views: list[View]  # of the images, then of the video
    marked_ids: list[int]  # of the conversation, with one id where a medium belongs
    prompt: PromptIds
    options: GenerationOptions
    asked_new_tokens: int  # before the context cut it
    warnings: list[str]
    clock: Stopwatch


class Session:
    """Made by `Session.open`; usable as a context manager. Costs memory until closed."""

    def __init__(
        self, bundle: Bundle, engine: Engine, tokenizer: Tokenizer, template: str, load_ms: float = 0.0
    ) -> None:
        self.bundle = bundle
        self.model = bundle.manifest.model
        self.tokenizer = tokenizer
        self.template = template
        self._engine: Engine | None = engine
        self._load_ms = load_ms

    @classmethod
    def open(
        cls,
        path: str | PathLike[str],
        device: str = "auto",
        threads: int | None = None,
        on_progress: Progress = _no_progress,
    ) -> Session:
        """Open the bundle in folder `path` on a device: auto, cpu, cuda or tensorrt.

        Raises:
            OVError: BUNDLE_INVALID for a damaged bundle, MISSING_DEPENDENCY for a device that is not there.
        """
        check_device(device, threads)
        clock = Stopwatch()
        with clock.stage("load"):
            bundle = open_bundle(str(path), progress=on_progress)
            engine = open_engine(bundle, device, threads)
            tokenizer = Tokenizer(bundle.file("tokenizer.json"))
            template = _read_template(bundle)
        logger.info("%s (%s) on %s", bundle.manifest.source, bundle.manifest.precision, engine.name)
        return cls(bundle, engine, tokenizer, template, clock["load"])

    @property
    def engine(self) -> Engine:
        if self._engine is None:
            raise OVError(ExitCode.USAGE, "the session is closed", "open another one")
        return self._engine

    def close(self) -> None:
        """Free the engine. Calling it twice does no harm."""
        self._engine = None

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: object, __: TracebackType | None) -> None:
        self.close()

    @overload
    def generate(
        self,
        *,
        prompt: str = ...,
        images: Sequence[ImageSource] = ...,
        video: Sequence[ImageSource] | None = ...,
        system: str | None = ...,
        stream: Literal[False] = ...,
        max_tiles: int | None = ...,
        on_progress: Progress = ...,
        **options: Any,
    ) -> Result: ...

    @overload
    def generate(
        self,
        *,
        prompt: str = ...,
        images: Sequence[ImageSource] = ...,
        video: Sequence[ImageSource] | None = ...,
        system: str | None = ...,
        stream: Literal[True],
        max_tiles: int | None = ...,
        on_progress: Progress = ...,
        **options: Any,
    ) -> TextStream: ...

    def generate(
        self,
        *,
        prompt: str = DEFAULT_PROMPT,
        images: Sequence[ImageSource] = (),
        video: Sequence[ImageSource] | None = None,
        system: str | None = None,
        stream: bool = False,
        max_tiles: int | None = None,
        on_progress: Progress = _no_progress,
        **options: Any,
    ) -> Result | TextStream:
        """Answer `prompt` about images and a video, seen as in training: an image alone is tiled (AnyRes), several are
        one view each, and so are the frames of a video, with fewer tokens.

        Args:
            prompt: may place the images with `<image>` and the video with `<video>`; else they go first.
            images: paths, bytes of files, Pillow images or uint8 arrays.
            video: the frames of one clip, in order, of the same types.
            system: None is the system turn of training, "" leaves it out.
            stream: return an iterator of text instead; input errors are still raised here, before it.
            max_tiles: allow only grids of so many tiles; fewer visual tokens, but not as the model was trained.
            options: the fields of `GenerationOptions`.

        Raises:
            OVError: USAGE, BAD_INPUT or LIMIT_EXCEEDED, with what to do about it.
        """
        chosen = make_options(options)
        question = self._prepare(prompt, images, video, system, chosen, max_tiles)
        answer = TextStream(self._answer(question, on_progress))
        return answer if stream else answer.result

    def _prepare(
        self,
        prompt: str,
        images: Sequence[ImageSource],
        video: Sequence[ImageSource] | None,
        system: str | None,
        options: GenerationOptions,
        max_tiles: int | None,
    ) -> _Question:
        _check_types(prompt, images, video)
        check_limit("images", len(images), "there are")
        check_limit("frames", len(video or ()), "the video has")
        check_limit("prompt_chars", len(prompt) + len(system or ""), "the prompt has")
        clock = Stopwatch()
        geometry, warnings = self._geometry(max_tiles, len(images))
        views = self._views(images, video, geometry, clock)
        tokens = [view.plan.num_tokens for view in views]
        with clock.stage("prompt"):
            marked_ids = self._encode_prompt(prompt, system, len(images), tokens)
            ids = expand(
                marked_ids,
                self.model.image_token_id,
                tokens[: len(images)],
                self.model.pad_token_id,
                video_token_id=self.model.video_token_id,
                tokens_per_video=tokens[len(images) :],
            )
        room = self._room(ids)
        return _Question(
            views=views,
            marked_ids=marked_ids,
            prompt=ids,
            options=dataclasses.replace(options, max_new_tokens=min(options.max_new_tokens, room)),
            asked_new_tokens=options.max_new_tokens,
            warnings=[*warnings, *options.idle()],
            clock=clock,
        )

    def _views(
        self,
        images: Sequence[ImageSource],
        video: Sequence[ImageSource] | None,
        geometry: Geometry,
        clock: Stopwatch,
    ) -> list[View]:
        views = []
        for source in images:  # one after the other: only their tiles are kept
            with clock.stage("decode_image"):
                image = load_image(source)
            with clock.stage("tile"):
                views.append(make_view(image, geometry, alone=len(images) == 1))
        if video is not None:
            with clock.stage("tile"):  # and their reading, frame by frame
                views.append(make_video_view(map(load_image, video), geometry))
        return views

    def _answer(self, question: _Question, on_progress: Progress) -> Generator[str, None, Result]:
        """Run the graphs: tower and projector, prefill, then tokens until something ends them."""
        engine, options, clock = self.engine, question.options, question.clock
        prompt = question.prompt
        with clock.stage("load"):
            engine.load(*(("vision", "projector") if question.views else ()), "decoder")
        image_embeds_TD = self._see(question, on_progress) if question.views else None
        cache = engine.new_cache(prompt.num_tokens + options.max_new_tokens)
        with clock.stage("prefill"):
            chunk = options.prefill_chunk_tokens
            report = partial(on_progress, "reading the prompt")
            logits_V = prefill(engine, cache, prompt, image_embeds_TD, chunk, report)
        sampler = Sampler(options, question.marked_ids)
        tokens = generate_tokens(engine, cache, logits_V, sampler, options, self.model.eos_token_ids)
        detokenizer, stop_filter = Detokenizer(self.tokenizer.decode), StopFilter(options.stop_strings)
        token_ids: list[int] = []
        pieces: list[str] = []
        first_token_ms = 0.0
        for token in clock.each("decode", tokens):
            first_token_ms = first_token_ms or clock.total_ms()
            token_ids.append(token)
            if piece := stop_filter.push(detokenizer.push(token)):
                pieces.append(piece)
                yield piece
            if stop_filter.stopped:
                break
        if rest := stop_filter.push(detokenizer.finish()) + stop_filter.finish():
            pieces.append(rest)
            yield rest
        return self._result(question, "".join(pieces), token_ids, stop_filter.stopped, first_token_ms)

    def _see(self, question: _Question, on_progress: Progress) -> NDArray[np.float32]:
        """Visual tokens of all views: image_embeds [T, D]."""
        with question.clock.stage("encode"):
            report = partial(on_progress, "looking at the tiles")
            features = encode_tiles(self.engine, question.views, self.model, report)
        with question.clock.stage("project"):
            return project_views(self.engine, question.views, features)

    def _geometry(self, max_tiles: int | None, num_images: int) -> tuple[Geometry, list[str]]:
        geometry = self.model.geometry
        if max_tiles is None:
            return geometry, []
        if num_images != 1:
            return geometry, ["max_tiles without effect: only an image alone is tiled"]
        capped = cap_tiles(geometry, max_tiles)
        if capped == geometry:
            return geometry, []
        return capped, [f"max_tiles is {max_tiles}: not what the model was trained with, details may be lost"]

    def _encode_prompt(self, prompt: str, system: str | None, num_images: int, tokens: list[int]) -> list[int]:
        """The conversation's ids; `tokens` are those of each image and, after them, of the video if there is one."""
        num_videos = len(tokens) - num_images
        turns = conversation(prompt, num_images, num_videos, DEFAULT_SYSTEM if system is None else system)
        ids = encode_conversation(turns, self.template, self.tokenizer)
        check_limit("prompt_tokens", len(ids) + sum(tokens), "the prompt has")
        return ids

    def _room(self, prompt: PromptIds) -> int:
        """How many new tokens fit the context after this prompt."""
        context, visual = self.model.max_positions, _count_visual(prompt)
        if prompt.num_tokens > context - 1:
            raise OVError(
                ExitCode.LIMIT_EXCEEDED,
                f"the prompt has {prompt.num_tokens:,} tokens ({visual:,} of them from images or frames), over the"
                f" {context - 1:,} that the model's context of {context:,} leaves room for",
                "use a smaller image, --max-tiles (max_tiles=), fewer images or frames, or a shorter prompt",
            )
        return context - prompt.num_tokens

    def _result(
        self, question: _Question, text: str, token_ids: list[int], stopped: bool, first_token_ms: float
    ) -> Result:
        ended = bool(token_ids) and token_ids[-1] in self.model.eos_token_ids
        finish_reason = "stop_string" if stopped else "stop" if ended else "length"
        warnings = list(question.warnings)
        if finish_reason == "length" and question.options.max_new_tokens < question.asked_new_tokens:
            warnings.append(
                f"max_new_tokens cut from {question.asked_new_tokens} to {question.options.max_new_tokens}:"
                f" the model's context of {self.model.max_positions:,} is full"
            )
        manifest = self.bundle.manifest
        return Result(
            text=text,
            finish_reason=finish_reason,
            token_ids=tuple(token_ids),
            prompt_tokens=question.prompt.num_tokens,
            image_tokens=_count_visual(question.prompt),
            completion_tokens=len(token_ids),
            tiles=sum(len(view.pixels_TCHW) for view in question.views),
            timings_ms=self._timings_ms(question.clock, first_token_ms, len(token_ids)),
            memory_mb=peak_memory_mb(),
            model=ModelInfo(
                id=manifest.source,
                sha256=self.bundle.sha256,
                precision=manifest.precision,
                engine=self.engine.name,
            ),
            versions=versions(),
            warnings=tuple(warnings),
        )

    def _timings_ms(self, clock: Stopwatch, first_token_ms: float, num_tokens: int) -> dict[str, float]:
        after_first_ms = clock.total_ms() - first_token_ms
        timings = {
            "load": self._load_ms + clock["load"],
            **{stage: clock[stage] for stage in ("decode_image", "tile", "encode", "project", "prefill")},
            "first_token": first_token_ms,
            "per_token": after_first_ms / (num_tokens - 1) if num_tokens > 1 else 0.0,
        }
        return {stage: round(spent, 3) for stage, spent in timings.items()}


def _check_types(prompt: object, images: object, video: object) -> None:
    if not isinstance(images, (list, tuple)):
        raise OVError(ExitCode.USAGE, "images should be a list, even of one", "write images=[...]")
    if video is not None and not isinstance(video, (list, tuple)):
        raise OVError(
            ExitCode.USAGE,
            "video should be a list of frames: files of videos can't be opened yet",
            "decode it, and write video=[frame, ...] with the images of one clip",
        )
    if not isinstance(prompt, str):
        raise OVError(ExitCode.USAGE, f"the prompt is {type(prompt).__name__}, not text", "give a string")


def _count_visual(prompt: PromptIds) -> int:
    return int((prompt.embed_index_S >= 0).sum())


def _read_template(bundle: Bundle) -> str:
    file = bundle.file("chat_template.jinja")
    check_limit("template_bytes", file.stat().st_size, "the chat template has")
    return file.read_text(encoding="utf-8", errors="replace")
