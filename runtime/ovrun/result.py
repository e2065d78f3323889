"""What a generation returns: the answer, how it ended, and what it cost. The object that `ovrun --json` prints."""

from __future__ import annotations

import dataclasses
import json
import platform
import sys
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata

STAGES = ("load", "decode_image", "tile", "encode", "project", "prefill", "first_token", "per_token")


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """Which bundle answered, on what."""

    id: str
    sha256: str  # of the bundle's manifest, which holds the hashes of all its files
    precision: str
    engine: str


@dataclass(frozen=True, kw_only=True)
class Result:
    """One answer.

    `token_ids` are the tokens the model gave, an end-of-sequence token at the end included; the text has neither
    that nor the stop string. `tiles` counts the views of all images, base views included, and the frames of a video.
    `timings_ms` has one number per entry of STAGES: first_token is the work of all stages up to the first token,
    per_token the mean of the others, load the opening of the session; what was waited for a turn, or for a reader, is
    in none. `memory_mb` is the peak resident memory of the process so far, None where the system does not tell.
    """

    text: str
    finish_reason: str
    token_ids: tuple[int, ...]
    prompt_tokens: int  # visual tokens included
    reused_tokens: int  # of the prompt, whose keys and values were kept from another one
    image_tokens: int
    completion_tokens: int
    tiles: int
    timings_ms: dict[str, float]
    memory_mb: float | None
    model: ModelInfo
    versions: dict[str, str]
    warnings: tuple[str, ...]

    def to_json(self) -> str:
        """The result as one line of JSON."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False)


class TextStream(Iterator[str]):
    """The pieces of an answer as they become certain; `.result` is the whole of it once they are read.

    `so_far` gives the result of an answer that is not at its end.
    """

    def __init__(self, pieces: Generator[str, None, Result], so_far: Callable[[], Result]) -> None:
        self._pieces, self._so_far = pieces, so_far
        self._result: Result | None = None

    def __next__(self) -> str:
        try:
            return next(self._pieces)
        except StopIteration as end:
            self._result = end.value or self._result
            raise

    @property
    def result(self) -> Result:
        """The result; what has not been read of the stream is read first. Raises RuntimeError after `close`."""
        for _ in self:
            pass
        if self._result is None:
            raise RuntimeError("the stream was closed, or failed, before its end")
        return self._result

    def close(self) -> None:
        """Stop generating."""
        self._pieces.close()

    def stop(self) -> Result:
        """Stop generating; what has been said so far, with the finish_reason "interrupted" if that is not all."""
        self.close()
        self._result = self._result or self._so_far()
        return self._result


def peak_memory_mb() -> float | None:
    """Peak resident memory of this process in units of 10**6 bytes.

    The kernel's own mark where there is one: what getrusage tells includes the parent's peak from before the start.
    """
    try:
        with open("/proc/self/status") as status:
            for line in status:
                if line.startswith("VmHWM:"):
                    return round(int(line.split()[1]) * 1024 / 1e6, 1)
    except OSError:
        pass
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak * (1 if sys.platform == "darwin" else 1024) / 1e6, 1)


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """Versions of what takes part in an answer, as installed."""
    found = {"python": platform.python_version()}
    for name in ("ovexport", "numpy", "pillow", "tokenizers", "onnxruntime", "onnxruntime-gpu"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
