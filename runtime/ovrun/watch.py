"""Live video: a standing question, asked again and again about the last frames of a stream.

Each frame is encoded once, when it is first in an answered window.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ovengines.errors import ExitCode, OVError
from ovrun.media.image import ImageSource, load_image
from ovrun.options import GenerationOptions, make_options
from ovrun.progress import no_progress
from ovrun.prompt.messages import Message, conversation
from ovrun.result import Result, TextStream
from ovrun.stopwatch import Stopwatch
from ovrun.vision.sight import Glance, clip_of

if TYPE_CHECKING:
    from ovrun.session import Session


def watch(
    session: Session,
    frames: Iterable[ImageSource],
    prompt: str,
    window: int,
    every: int,
    options: Mapping[str, Any],
) -> Iterator[Result]:
    """See `Session.watch`. Raises OVError as `Session.generate` does, when an answer is asked for."""
    for name, value in (("window", window), ("every", every)):
        if value < 1:
            raise OVError(ExitCode.USAGE, f"{name} is {value}", "give a whole number of at least 1")
    chosen, messages = make_options(dict(options)), conversation(prompt, num_videos=1)
    return _answers(session, frames, messages, deque(maxlen=window), every, chosen)


def _answers(
    session: Session,
    frames: Iterable[ImageSource],
    messages: Sequence[Message],
    glances: deque[Glance],
    every: int,
    options: GenerationOptions,
) -> Iterator[Result]:
    desk = session.desk
    rows = session.rows()
    for number, source in enumerate(frames, start=1):
        clock = Stopwatch()
        with clock.stage("decode_image"):
            frame = load_image(source)
        with clock.stage("tile"):
            glances.append(desk.vision.frame(frame, session.model.geometry))
        if number % every:
            continue
        clip = clip_of(list(glances))
        look = partial(desk.look, [clip], clock, no_progress)
        question = desk.settled(desk.prompt(messages, [], [clip], look), options, [clip], (), clock)
        yield TextStream(session.answer(question, rows=rows)).result
