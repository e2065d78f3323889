"""What the implementations are tried on: random and hostile inputs, real token plans, and what it means to be equal."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from ovengines.bundle.manifest import Geometry
from ovrun.tiling.plan import TokenPlan, concat, plan_image, plan_single_view, plan_video

DTYPES: dict[str, Any] = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
BAD_INDICES = (-1, 2**31 - 1, -(2**31))  # and the number of rows itself


@dataclass(frozen=True, kw_only=True)
class Case:
    rows_RD: NDArray[Any]
    indices_T4: NDArray[np.int32]
    weights_T4: NDArray[np.float32]
    note: str

    @property
    def arrays(self) -> tuple[NDArray[Any], NDArray[np.int32], NDArray[np.float32]]:
        return self.rows_RD, self.indices_T4, self.weights_T4


def random_case(seed: int, dtype: str) -> Case:
    """Any small size, nothing at all included; every fourth case has numbers that are not finite, and odd weights."""
    rng = np.random.default_rng(seed)
    num_rows, num_tokens = int(rng.integers(1, 90)), int(rng.integers(0, 60))
    dim = int(rng.choice([1, 2, 3, 7, 8, 16, 31, 64, 65, 96, 130, 200, 896, int(rng.integers(0, 300))]))
    rows_RD = rng.standard_normal((num_rows, dim)).astype(np.float32)
    weights_T4 = rng.random((num_tokens, 4), dtype=np.float32)
    weights_T4[rng.random((num_tokens, 4)) < 0.4] = 0
    if seed % 4 == 0:
        odd = np.float32([np.nan, np.inf, -np.inf, -0.0, 0.0, 1e-41, 3e38, 65504, 65520, 6e-8])
        rows_RD[rng.random(rows_RD.shape) < 0.3] = rng.choice(odd)
        weights_T4[rng.random(weights_T4.shape) < 0.2] = rng.choice(odd)
    with np.errstate(all="ignore"):
        rows_RD = rows_RD.astype(DTYPES[dtype])
    indices_T4 = rng.integers(0, num_rows, (num_tokens, 4)).astype(np.int32)
    return Case(rows_RD=rows_RD, indices_T4=indices_T4, weights_T4=weights_T4, note=f"seed {seed}, {dtype}")


def bad_case(seed: int, dtype: str) -> tuple[Case, int]:
    """A case with indices outside its rows, at any weight; and the first token at fault."""
    rng = np.random.default_rng(seed)
    case = random_case(4 * seed + 1, dtype)
    num_tokens = len(case.indices_T4)
    if num_tokens == 0:
        return bad_case(seed + 10_000, dtype)
    at = sorted(int(t) for t in rng.choice(num_tokens, size=min(num_tokens, 3), replace=False))
    for token in at:
        case.indices_T4[token, rng.integers(4)] = rng.choice([*BAD_INDICES, len(case.rows_RD)])
    return case, at[0]


def plan_cases(num_plans: int, seed: int, dtype: str, dim: int | None = None) -> Iterator[Case]:
    """Plans as the runtime makes them: an image of any size, several images, a video, and mixtures.

    Two of three have the real 27 x 27 patches; D is small, and with it the time, unless it is given. Each plan has a
    seed of its own, so one that fails can be made alone.
    """
    for own_seed in range(seed, seed + num_plans):
        rng = random.Random(own_seed)
        plan = _random_plan(rng, _geometry(rng))
        shape = plan.num_rows, dim or rng.randint(1, 9)
        rows = np.random.default_rng(own_seed).random(shape, np.float32) - np.float32(0.5)
        yield Case(
            rows_RD=rows.astype(DTYPES[dtype]),
            indices_T4=plan.indices_T4,
            weights_T4=plan.weights_T4,
            note=f"plan_cases(1, {own_seed}, {dtype!r})",
        )


def any_seed() -> int:
    """Another one in every run; what fails tells it."""
    return random.SystemRandom().randrange(1 << 32)


def assert_same(out_TD: NDArray[Any], expected_TD: NDArray[Any], note: str) -> None:
    """Bit by bit, signs of zero included; but a NaN is a NaN."""
    assert (out_TD.dtype, out_TD.shape) == (expected_TD.dtype, expected_TD.shape), note
    bits = np.uint16 if out_TD.dtype.itemsize == 2 else np.uint32
    nan_TD = np.isnan(expected_TD.astype(np.float32))
    assert np.array_equal(np.isnan(out_TD.astype(np.float32)), nan_TD), note
    assert np.array_equal(out_TD.view(bits)[~nan_TD], expected_TD.view(bits)[~nan_TD]), note


def _geometry(rng: random.Random) -> Geometry:
    tile_px = rng.choice([384, 384, 104])
    pinpoints = tuple((rows * tile_px, columns * tile_px) for rows in range(1, 7) for columns in range(1, 7))
    return Geometry(
        image_size_px=tile_px,
        patch_size_px=14,
        grid_pinpoints=pinpoints,
        max_tiles=rng.choice([9, 9, 4]),
        unpad_rounding=rng.choice(["hf", "llava"]),
    )


def _random_plan(rng: random.Random, geometry: Geometry) -> TokenPlan:
    def image() -> TokenPlan:
        return plan_image(*(int(10 ** rng.uniform(0.5, 3.6)) for _ in "hw"), geometry)

    def video() -> TokenPlan:
        return plan_video(rng.randint(1, 12), geometry)

    def views() -> TokenPlan:
        return concat([plan_single_view(geometry)] * rng.randint(2, 4))

    def mixture() -> TokenPlan:
        return concat([rng.choice((image, video, views))() for _ in range(rng.randint(2, 3))])

    return rng.choice((image, image, image, video, views, mixture, mixture))()
