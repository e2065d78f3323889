"""Times the stages of an answer one by one, each several times within its share of a limit of time.

Sizes are those of an ordinary question: a picture of 640 x 480 pixels, prompts of hundreds of tokens. What the weights
say does not matter, so ids are any and the picture is drawn.

Axes: N tiles, P patches of a tile, C channels, H W pixels, D width, B rows, S tokens.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO

import numpy as np

from ovengines import KVCache
from ovrun.media.image import load_image
from ovrun.options import GenerationOptions
from ovrun.session import Session
from ovrun.tiling.plan import plan_image
from ovrun.tiling.tiles import tile_image

PICTURE_PX = (480, 640)  # height, width
PROMPT_TOKENS = 500
CONTEXTS = (500, 2000, 6000)
ROOM_TOKENS = 16
STEPS = 8
ROUNDS = 7
NO_LOGITS = np.zeros((1, 0), np.int64)

Work = Callable[[], object]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Median and extremes of `rounds` runs, and how many units (tiles or tokens) one run is."""

    name: str
    work: str
    unit: str
    units: int
    rounds: int
    ms: float
    low_ms: float
    high_ms: float

    @property
    def units_per_s(self) -> float:
        return 1e3 * self.units / self.ms if self.ms else 0.0


def measure(session: Session, seconds: float) -> Iterator[Stage]:
    """Every stage but loading, in the order of an answer; a long context is left out where time is short."""
    geometry, engine = session.model.geometry, session.engine
    until = time.perf_counter() + seconds
    plan = plan_image(*PICTURE_PX, geometry)
    encoded = _encoded_picture()
    pixels_NCHW = tile_image(load_image(encoded), geometry)
    height_px, width_px = PICTURE_PX
    picture = f"JPEG of {width_px} x {height_px}"
    left = lambda: until - time.perf_counter()  # noqa: E731
    yield timed("preprocess", picture, ("picture", 1), lambda: tile_image(load_image(encoded), geometry), left() / 20)
    yield timed("encode", "one tile", ("tile", 1), lambda: engine.encode(pixels_NCHW[:1]), left() / 4)
    features_NPD = np.zeros((plan.num_tiles, plan.patches_per_tile, session.model.vision_hidden), np.float32)
    project = lambda: engine.project(features_NPD, plan.indices_T4, plan.weights_T4)  # noqa: E731
    yield timed("project", f"{plan.num_tiles} tiles", ("token", plan.num_tokens), project, left() / 8)
    yield from _decoder(session, left)


def _decoder(session: Session, left: Callable[[], float]) -> Iterator[Stage]:
    """Reading a prompt, then steps at growing contexts while there is time."""
    room = session.engine.context_tokens - ROOM_TOKENS
    prompt = min(PROMPT_TOKENS, room)
    cache = session.engine.new_cache(min(max(CONTEXTS), room) + ROOM_TOKENS)

    def read() -> None:
        cache.rewind(0, 0)
        fill(session, cache, prompt)

    stage = timed("prefill", f"{prompt} tokens", ("token", prompt), read, left() / 4)
    yield stage
    for context in (tokens for tokens in CONTEXTS if tokens <= room):
        filling_s = 2 * stage.ms / 1e3 * (context - cache.lengths[0]) / prompt
        if filling_s > left() and context != CONTEXTS[0]:
            return
        fill(session, cache, context)
        yield timed(
            "decode", f"after {context:,} tokens", ("token", STEPS), _steps(session, cache, context), left() / 3
        )


def _steps(session: Session, cache: KVCache, context: int) -> Work:
    token_BS, last_BK = np.ones((1, 1), np.int64), np.zeros((1, 1), np.int64)

    def steps() -> None:
        cache.rewind(0, context)
        for _ in range(STEPS):
            session.engine.decode(cache, token_BS, logits_index_BK=last_BK)

    return steps


def fill(session: Session, cache: KVCache, tokens: int) -> None:
    """Make the cache hold so many tokens, read in chunks as a prompt is; what it holds of them stays."""
    chunk = GenerationOptions().prefill_chunk_tokens
    cache.rewind(0, min(cache.lengths[0], tokens))
    while (held := cache.lengths[0]) < tokens:
        ids_BS = np.ones((1, min(chunk, tokens - held)), np.int64)
        session.engine.decode(cache, ids_BS, logits_index_BK=NO_LOGITS)


def timed(name: str, work: str, unit: tuple[str, int], run: Work, seconds: float) -> Stage:
    """After a run that warms up: at most ROUNDS runs, fewer where they take longer than `seconds`, at least one."""
    run()
    spent: list[float] = []
    until = time.perf_counter() + seconds
    while len(spent) < ROUNDS and (not spent or time.perf_counter() < until):
        started = time.perf_counter()
        run()
        spent.append((time.perf_counter() - started) * 1e3)
    median = statistics.median(spent)
    extremes = {"low_ms": min(spent), "high_ms": max(spent)}
    return Stage(name=name, work=work, unit=unit[0], units=unit[1], rounds=len(spent), ms=median, **extremes)


def _encoded_picture() -> bytes:
    """Gradients under noise, as a file."""
    from PIL import Image

    height_px, width_px = PICTURE_PX
    y_HW, x_HW = np.mgrid[0:height_px, 0:width_px]
    noise_HWC = np.random.default_rng(0).integers(0, 32, (height_px, width_px, 3))
    pixels_HWC = np.stack([x_HW % 224, y_HW % 224, (x_HW + y_HW) % 224], axis=-1) + noise_HWC
    file = BytesIO()
    Image.fromarray(pixels_HWC.astype(np.uint8)).save(file, "JPEG", quality=90)
    return file.getvalue()
