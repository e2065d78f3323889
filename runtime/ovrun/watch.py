"""Live video: a standing question, asked again and again about the last frames of a stream.

Each frame is encoded once, when it is first in an answered window.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from ovengines.errors import ExitCode, OVError
from ovrun.decode.rows import Rows
from ovrun.media.image import ImageSource, load_image
from ovrun.options import make_options
from ovrun.progress import Progress, no_progress
from ovrun.prompt.messages import conversation
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
    watching = Watch(session, prompt, window, every, options)
    return (answer.result for answer in map(watching.push, frames) if answer is not None)


class Watch:
    """The same for frames that are handed over one by one; `options` as of `Session.watch`."""

    def __init__(self, session: Session, prompt: str, window: int, every: int, options: Mapping[str, Any]) -> None:
        """Raises OVError (USAGE) for a window or options that make no sense."""
        for name, value in (("window", window), ("every", every)):
            if value < 1:
                raise OVError(ExitCode.USAGE, f"{name} is {value}", "give a whole number of at least 1")
        self.session, self._every = session, every
        self._options, self._messages = make_options(dict(options)), conversation(prompt, num_videos=1)
        self._glances: deque[Glance] = deque(maxlen=window)
        self._num_frames = 0
        self._rows: Rows | None = None

    def push(self, frame: ImageSource, on_progress: Progress = no_progress) -> TextStream | None:
        """The answer about the window that ends with this frame, to be read; None where none is due."""
        desk, geometry, clock = self.session.desk, self.session.model.geometry, Stopwatch()
        with clock.stage("decode_image"):
            image = load_image(frame)
        with clock.stage("tile"):
            self._glances.append(desk.vision.frame(image, geometry))
        self._num_frames += 1
        if self._num_frames % self._every:
            return None
        clip = clip_of(list(self._glances))
        look = partial(desk.look, [clip], clock, on_progress)
        question = desk.settled(desk.prompt(self._messages, [], [clip], look), self._options, [clip], (), clock)
        self._rows = self.session.rows() if self._rows is None else self._rows
        return self.session.stream(question, self._rows, on_progress)
