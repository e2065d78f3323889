"""Frames of a camera or a network stream as they come, for `Session.watch`.

Opens whatever address it is given (RTSP, a device, a file), in this process: for addresses that the caller chose, never
for those that strangers send. What comes faster than it is looked at is dropped, oldest first, so that answers are
about now.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Mapping

import av
from PIL import Image

from ovengines.errors import ExitCode, OVError
from ovrun.media.upright import upright_image

MAX_WAITING = 8  # frames that wait to be looked at


def live_frames(
    address: str,
    *,
    fps: float = 1.0,
    format: str | None = None,
    options: Mapping[str, str] | None = None,
    timeout_s: float = 10.0,
    max_waiting: int = MAX_WAITING,
) -> Iterator[Image.Image]:
    """Upright RGB frames, `fps` of them for each second of the stream's own time, until it ends.

    Args:
        address: what `av.open` takes: "rtsp://...", "/dev/video0" with format "v4l2", a file.
        options: of the demuxer, such as {"rtsp_transport": "tcp"}.
        timeout_s: how long opening may take, and how long the stream may be silent.

    Raises:
        OVError: BAD_INPUT for what can't be opened or falls silent, USAGE for numbers that make no sense.
    """
    if fps <= 0 or timeout_s <= 0 or max_waiting < 1:
        raise OVError(ExitCode.USAGE, "fps, timeout_s and max_waiting should be above zero", "leave them out")
    reader = _Reader(address, fps, format, dict(options or {}), timeout_s, max_waiting)
    return reader.frames()


class _Reader:
    """A thread that decodes and keeps the newest frames."""

    def __init__(
        self, address: str, fps: float, format: str | None, options: dict[str, str], timeout_s: float, max_waiting: int
    ) -> None:
        self._address, self._fps, self._timeout_s = address, fps, timeout_s
        self._opening = {"format": format, "options": options, "timeout": timeout_s}
        self._waiting: deque[Image.Image] = deque(maxlen=max_waiting)
        self._changed = threading.Condition()
        self._stopped = self._ended = False
        self._error: Exception | None = None

    def frames(self) -> Iterator[Image.Image]:
        thread = threading.Thread(target=self._read, name="live frames", daemon=True)
        thread.start()
        try:
            while (frame := self._next()) is not None:
                yield frame
        finally:
            self._stopped = True

    def _next(self) -> Image.Image | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._ended)
            if self._waiting:
                return self._waiting.popleft()
        if self._error is not None:
            raise OVError(
                ExitCode.BAD_INPUT,
                f"{self._address} can't be opened, or has been silent for {self._timeout_s:g} s",
                "check the address, and that the camera is on",
            ) from self._error
        return None

    def _read(self) -> None:
        try:
            with av.open(self._address, **self._opening) as container:  # type: ignore[call-overload]
                if not container.streams.video:
                    raise ValueError("no video")
                self._decode(container)
        except Exception as err:  # decoders raise nearly every type there is
            self._error = err
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify()

    def _decode(self, container: av.container.InputContainer) -> None:
        due_s: float | None = None
        for frame in container.decode(container.streams.video[0]):
            if self._stopped:
                return
            now_s = float(frame.time or 0.0)
            if due_s is not None and now_s < due_s - 1e-6:
                continue
            # A clock that jumps, as cameras' do after a loss of signal, starts the count again.
            due_s = now_s + 1 / self._fps if due_s is None or now_s > due_s + 1 / self._fps else due_s + 1 / self._fps
            with self._changed:
                self._waiting.append(upright_image(frame))
                self._changed.notify()
