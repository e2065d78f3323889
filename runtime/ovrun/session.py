"""An opened bundle that answers questions about images and video: media -> tiling -> prompt -> vision -> decode.

Joins the stages; what each does is in the package of its name. One answer at a time per session; for more see `batch`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from functools import partial
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, overload

from ovengines import Bundle, Engine, check_device, open_bundle, open_engine
from ovengines.errors import ExitCode, OVError
from ovrun.ask import ask_about, ask_in, split_options
from ovrun.decode.answer import Answer
from ovrun.decode.rows import Row, Rows
from ovrun.limits import check_limit, limit_value
from ovrun.log import logger
from ovrun.media.clip import VideoSource
from ovrun.media.image import ImageSource
from ovrun.progress import Progress, no_progress
from ovrun.prompt.tokenizer import Tokenizer
from ovrun.question import Desk, Question, given_up
from ovrun.result import ModelInfo, Result, TextStream, peak_memory_mb, versions
from ovrun.stopwatch import Stopwatch
from ovrun.vision.feature_cache import FeatureCache
from ovrun.vision.sight import Vision

if TYPE_CHECKING:
    from ovrun.chat import Chat

DEFAULT_PROMPT = "Describe this image."
DEFAULT_SLOTS = 4  # answers of a batch that are decoded together


class Session:
    """Made by `Session.open`; usable as a context manager. Costs memory until closed."""

    def __init__(
        self,
        bundle: Bundle,
        engine: Engine,
        tokenizer: Tokenizer,
        template: str,
        load_ms: float = 0.0,
        feature_cache: FeatureCache | None = None,
    ) -> None:
        self.bundle = bundle
        self.model = bundle.manifest.model
        cache = FeatureCache(limit_value("feature_cache_bytes")) if feature_cache is None else feature_cache
        self.vision = Vision(engine, self.model, cache, scope=bundle.sha256)
        self.desk = Desk(self.model, tokenizer, template, self.vision, engine.context_tokens)
        self._engine: Engine | None = engine
        self._load_ms = load_ms

    @classmethod
    def open(
        cls,
        path: str | PathLike[str],
        device: str = "auto",
        threads: int | None = None,
        on_progress: Progress = no_progress,
        feature_cache: FeatureCache | None = None,
    ) -> Session:
        """Open the bundle in folder `path` on a device: auto, cpu, cuda or tensorrt.

        `feature_cache` is where visual tokens are remembered, by default in memory alone.

        Raises:
            OVError: BUNDLE_INVALID for a damaged bundle, MISSING_DEPENDENCY for a device that is not there.
        """
        check_device(device, threads)
        clock = Stopwatch()
        with clock.stage("load"):
            bundle = open_bundle(str(path), progress=on_progress)
            engine = open_engine(bundle, device, threads, progress=on_progress)
            tokenizer = Tokenizer(bundle.file("tokenizer.json"))
            template = _read_template(bundle)
        logger.info("%s (%s) on %s", bundle.manifest.source, bundle.manifest.precision, engine.name)
        return cls(bundle, engine, tokenizer, template, clock["load"], feature_cache)

    @property
    def engine(self) -> Engine:
        if self._engine is None:
            raise OVError(ExitCode.USAGE, "the session is closed", "open another one")
        return self._engine

    @property
    def tokenizer(self) -> Tokenizer:
        return self.desk.tokenizer

    @property
    def template(self) -> str:
        return self.desk.template

    def close(self) -> None:
        """Free the engine. Calling it twice does no harm."""
        self._engine = None
        self.vision.close()

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
        video: VideoSource | None = ...,
        system: str | None = ...,
        messages: Sequence[Mapping[str, Any]] | None = ...,
        stream: Literal[False] = ...,
        on_progress: Progress = ...,
        **options: Any,
    ) -> Result: ...

    @overload
    def generate(
        self,
        *,
        prompt: str = ...,
        images: Sequence[ImageSource] = ...,
        video: VideoSource | None = ...,
        system: str | None = ...,
        messages: Sequence[Mapping[str, Any]] | None = ...,
        stream: Literal[True],
        on_progress: Progress = ...,
        **options: Any,
    ) -> TextStream: ...

    def generate(
        self,
        *,
        prompt: str = DEFAULT_PROMPT,
        images: Sequence[ImageSource] = (),
        video: VideoSource | None = None,
        system: str | None = None,
        messages: Sequence[Mapping[str, Any]] | None = None,
        stream: bool = False,
        on_progress: Progress = no_progress,
        **options: Any,
    ) -> Result | TextStream:
        """Answer `prompt` about images and a video, seen as in training: an image alone is tiled (AnyRes), several are
        one view each, and so are the frames of a video, with fewer tokens.

        Args:
            prompt: may place the images with `<image>` and the video with `<video>`; else they go first.
            images: paths, bytes of files, Pillow images or uint8 arrays.
            video: a path, the bytes of a file, a folder of frames, or the frames, of the types of images.
            system: None is the system turn of training, "" leaves it out.
            messages: a whole conversation in place of all these, with its media in it: see `ovrun.prompt.media`.
            stream: return an iterator of text instead; input errors are still raised here, before it.
            on_progress: told what is being done, several times a second. What it raises ends the answer, wherever it
                is, and comes out of this call or of the iterator.
            options: the fields of `GenerationOptions`; num_frames, fps and max_frames of `FrameSampling`; and
                max_tiles (only grids of so many tiles) and anyres_multi (tiles for each of several images), with
                which the model sees what it was not trained with.

        Raises:
            OVError: USAGE, BAD_INPUT or LIMIT_EXCEEDED, with what to do about it.
        """
        question = self.question(prompt, images, video, system, messages, on_progress, **options)
        answer = self.stream(question, on_progress=on_progress)
        return answer if stream else answer.result

    def question(
        self,
        prompt: str = DEFAULT_PROMPT,
        images: Sequence[ImageSource] = (),
        video: VideoSource | None = None,
        system: str | None = None,
        messages: Sequence[Mapping[str, Any]] | None = None,
        on_progress: Progress = no_progress,
        **options: Any,
    ) -> Question:
        """What `generate` with these arguments settles before a graph runs; to be answered in rows of one's own."""
        seeing, decoding = split_options(options)
        ask = ask_about(prompt, images, video, system, seeing) if messages is None else ask_in(messages, seeing)
        return self.desk.question(ask, decoding, on_progress)

    def chat(self, system: str | None = None, **options: Any) -> Chat:
        """A conversation in which a turn reads only what is new; `system` and options as in `generate`."""
        from ovrun.chat import Chat

        return Chat(self, system, options)

    def watch(
        self, frames: Iterable[ImageSource], prompt: str, *, window: int = 8, every: int = 1, **options: Any
    ) -> Iterator[Result]:
        """Answer a standing question about the last `window` frames, after `every` frame or every few; each frame is
        encoded once."""
        from ovrun.watch import watch

        return watch(self, frames, prompt, window, every, options)

    def batch(
        self, requests: Iterable[Mapping[str, Any]], slots: int = DEFAULT_SLOTS
    ) -> Iterator[tuple[int, Result | OVError]]:
        """Answer many requests, `slots` at a time; each is a mapping of `generate`'s arguments.

        Yields (number of the request, its result or what is wrong with it) as they are done.
        """
        from ovrun.batch import batch

        return batch(self, requests, slots)

    def rows(self, slots: int = 1, keep_tokens: int | None = None) -> Rows:
        """Room for answers that are decoded together: see `Rows`."""
        self.engine.load("decoder")
        return Rows(self.engine, slots, self.engine.context_tokens, keep_tokens=keep_tokens)

    def row(self, question: Question, on_progress: Progress = no_progress) -> Row:
        """The row that answers a question."""
        answer = Answer(
            question.options, self.tokenizer.decode, self.model.eos_token_ids, prompt_ids=question.prompt.marked_ids
        )
        on_read = partial(on_progress, "reading the prompt")
        return Row(prompt=question.prompt, answer=answer, clock=question.clock, on_read=on_read)

    def answer(
        self, question: Question, row: Row | None = None, rows: Rows | None = None, on_progress: Progress = no_progress
    ) -> Generator[str, None, Result]:
        """Run the graphs: tower and projector, prefill, then tokens until something ends them.

        `row`: the question's own, for whoever wants to look into it; `rows`: what may hold its beginning already.
        """
        with question.clock.stage("load"):
            self.engine.load(*(("vision", "projector") if question.prompt.digests else ()), "decoder")
        row = self.row(question, on_progress) if row is None else row
        rows = self.rows() if rows is None else rows
        rows.add(row)
        try:
            yield from rows.answers(row)
        finally:
            if not row.is_done:
                rows.drop(row)
        return self.result(question, row)

    def stream(self, question: Question, rows: Rows | None = None, on_progress: Progress = no_progress) -> TextStream:
        """What `answer` gives, to be read and to be stopped."""
        row = self.row(question, on_progress)
        return TextStream(self.answer(question, row, rows), partial(self.result, question, row))

    def result(self, question: Question, row: Row) -> Result:
        """What `row` made of the question."""
        answer, manifest = row.answer, self.bundle.manifest
        warnings = list(question.warnings)
        if answer.finish_reason == "length" and question.options.max_new_tokens < question.asked_new_tokens:
            warnings.append(
                f"max_new_tokens cut from {question.asked_new_tokens} to {question.options.max_new_tokens}:"
                f" the model's context of {self.desk.context_tokens:,} is full"
            )
        return Result(
            text=answer.text,
            finish_reason=answer.finish_reason or "interrupted",
            token_ids=tuple(answer.token_ids),
            prompt_tokens=question.prompt.num_tokens,
            reused_tokens=row.num_reused,
            image_tokens=question.prompt.num_visual,
            completion_tokens=len(answer.token_ids),
            tiles=question.num_tiles,
            timings_ms=self._timings_ms(row),
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

    def nothing_said(self) -> Result:
        """The result of an answer that was ended while its question was still made ready."""
        question = given_up()
        return self.result(question, self.row(question))

    def _timings_ms(self, row: Row) -> dict[str, float]:
        clock, num_tokens = row.clock, len(row.answer.token_ids)
        after_first_ms = clock.total_ms() - row.first_token_ms
        timings = {
            "load": self._load_ms + clock["load"],
            **{stage: clock[stage] for stage in ("decode_image", "tile", "encode", "project", "prefill")},
            "first_token": row.first_token_ms,
            "per_token": after_first_ms / (num_tokens - 1) if num_tokens > 1 else 0.0,
        }
        return {stage: round(spent, 3) for stage, spent in timings.items()}


def _read_template(bundle: Bundle) -> str:
    file = Path(bundle.file("chat_template.jinja"))
    check_limit("template_bytes", file.stat().st_size, "the chat template has")
    return file.read_text(encoding="utf-8", errors="replace")
