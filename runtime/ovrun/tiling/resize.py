"""Pillow's bicubic resize, to the same bits, by the kernels' library on several threads where it is there.

Pillow resizes along one axis and then along the other, rounding to 8 bits in between; each pass is a weighted sum of
samples, with weights of 22 bits. The library does the sums (`ovkernels`); here is which samples, with which weights.

Axes: H W pixels of a picture, C channels; N samples along an axis, M of them afterwards, K taps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image

from ovkernels import native_resample
from ovkernels.dispatch import Resample
from ovkernels.reference import RESAMPLE_BITS
from ovrun.tiling.threads import for_each

BICUBIC = Image.Resampling.BICUBIC
SUPPORT = 2.0  # of the cubic of Keys, in samples of whichever side has fewer
CUBIC_A = -0.5
STRIP_ROWS = 64  # rows that leave Pillow at a time: they stay in the caches until both passes along them are done

PILLOW = int(PIL.__version__.split(".")[0])
WIDTH, HEIGHT = 0, 1

Size = tuple[int, int]  # width and height in px, as Pillow has it


def resize_to_each(image: Image.Image, sizes: Sequence[Size]) -> list[NDArray[np.uint8]]:
    """The RGB image in each of the sizes, as pixels_HWC."""
    resample = native_resample()
    orders = [first_axis(image.size, size) for size in sizes]
    if resample is None or None in orders:
        return by_pillow(image, sizes)
    resizes = [_Resize.of(image.size, size, order or 0) for size, order in zip(sizes, orders, strict=True)]
    by_height = [resize for resize in resizes if resize.order == HEIGHT]
    by_width = [resize for resize in resizes if resize.order == WIDTH]
    whole_HWC = np.asarray(image) if by_height else np.empty((0, 0, 3), dtype=np.uint8)

    def first_pass(top: int) -> None:
        strip = slice(top, top + STRIP_ROWS)
        if by_width and top < image.height:
            strip_HWC = np.asarray(image.crop((0, top, image.width, min(top + STRIP_ROWS, image.height))))
            for resize in by_width:
                resize.columns.along_rows(resample, strip_HWC, resize.between_HWC[strip])
        for resize in by_height:
            resize.rows.down_columns(resample, whole_HWC, resize.between_HWC, strip)

    def second_pass(part: tuple[_Resize, slice]) -> None:
        resize, strip = part
        if resize.order == WIDTH:
            resize.rows.down_columns(resample, resize.between_HWC, resize.out_HWC, strip)
        else:
            resize.columns.along_rows(resample, resize.between_HWC[strip], resize.out_HWC[strip])

    pixels, tallest = image.width * image.height, max(len(resize.between_HWC) for resize in resizes)
    for_each(first_pass, range(0, tallest, STRIP_ROWS), pixels=pixels)
    for_each(second_pass, [part for resize in resizes for part in resize.parts()], pixels=pixels)
    return [resize.out_HWC for resize in resizes]


def first_axis(source: Size, target: Size, pillow: int = PILLOW) -> int | None:
    """Which axis Pillow of that major version resizes first; None: unknown here. The order decides the bits.

    The width; but Pillow 13 starts with the height where that shrinks by more than twice as many pixels as the width,
    and 12 has a rule of its own for what is over 100 times as high as wide (their Resample.c).
    """
    less_width, less_height = (before - after for before, after in zip(source, target, strict=True))
    if less_width == 0 or less_height == 0:
        return WIDTH  # or none at all
    if source[1] > 100 * source[0]:
        return None
    if less_height < 0 or less_height <= 2 * less_width or pillow < 13:
        return WIDTH
    return HEIGHT if pillow == 13 else None


@dataclass(frozen=True, kw_only=True, eq=False)
class Axis:
    """How each of M samples is made of K of the N before: from `first_M` on, with weights of 22 bits."""

    first_M: NDArray[np.int32]
    weights_MK: NDArray[np.int32]

    def along_rows(self, resample: Resample, pixels_HNC: NDArray[np.uint8], out_HMC: NDArray[np.uint8]) -> None:
        resample(pixels_HNC, self.first_M, self.weights_MK, out_HMC)

    def down_columns(
        self, resample: Resample, pixels_NWC: NDArray[np.uint8], out_MWC: NDArray[np.uint8], strip: slice
    ) -> None:
        """That strip of the result."""
        samples_1NB = pixels_NWC.reshape(1, len(pixels_NWC), -1)
        out_1MB = out_MWC[strip].reshape(1, -1, samples_1NB.shape[2])
        resample(samples_1NB, self.first_M[strip], self.weights_MK[strip], out_1MB)


@lru_cache(maxsize=64)
def bicubic_axis(before: int, after: int) -> Axis:
    """From `before` samples to `after`, reducing with as many taps as samples are merged (Pillow's Resample.c).

    In its order of operations, in float64, as weights are rounded to 22 bits afterwards. Samples at an end have fewer
    taps: their weights stand at the end of the row of taps that still has samples.
    """
    scale = before / after
    merged = max(scale, 1.0)
    centre_M = (np.arange(after) + 0.5) * scale
    start_M = np.maximum((centre_M - SUPPORT * merged + 0.5).astype(np.int64), 0)
    stop_M = np.minimum((centre_M + SUPPORT * merged + 0.5).astype(np.int64), before)
    taps_K = np.arange((stop_M - start_M).max())
    distance_MK = np.abs((taps_K + start_M[:, None] - centre_M[:, None] + 0.5) * (1.0 / merged))
    weights_MK = np.where(taps_K < (stop_M - start_M)[:, None], _cubic(distance_MK), 0.0)
    weights_MK /= np.cumsum(weights_MK, axis=1)[:, -1:]  # a sum from the first to the last, as pairwise sums differ
    levels_MK = (weights_MK * (1 << RESAMPLE_BITS) + np.copysign(0.5, weights_MK)).astype(np.int32)
    first_M = np.minimum(start_M, before - len(taps_K))
    moved_MK = taps_K - (start_M - first_M)[:, None]
    moved_weights_MK = np.where(moved_MK < 0, 0, np.take_along_axis(levels_MK, np.maximum(moved_MK, 0), axis=1))
    return Axis(first_M=first_M.astype(np.int32), weights_MK=np.ascontiguousarray(moved_weights_MK, dtype=np.int32))


def _cubic(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys' cubic convolution kernel (1981), of distances of 0 and more."""
    near = ((CUBIC_A + 2.0) * distance - (CUBIC_A + 3.0)) * distance * distance + 1
    far = (((distance - 5) * distance + 8) * distance - 4) * CUBIC_A
    return np.where(distance < 1, near, np.where(distance < 2, far, 0.0))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Resize:
    """Along one axis into `between`, along the other into `out`."""

    order: int
    columns: Axis
    rows: Axis
    between_HWC: NDArray[np.uint8]
    out_HWC: NDArray[np.uint8]

    @classmethod
    def of(cls, source: Size, target: Size, order: int) -> _Resize:
        (width, height), (new_width, new_height) = source, target
        between = (height, new_width) if order == WIDTH else (new_height, width)
        return cls(
            order=order,
            columns=bicubic_axis(width, new_width),
            rows=bicubic_axis(height, new_height),
            between_HWC=np.empty((*between, 3), dtype=np.uint8),
            out_HWC=np.empty((new_height, new_width, 3), dtype=np.uint8),
        )

    def parts(self) -> list[tuple[_Resize, slice]]:
        return [(self, slice(top, top + STRIP_ROWS)) for top in range(0, len(self.out_HWC), STRIP_ROWS)]


def by_pillow(image: Image.Image, sizes: Sequence[Size]) -> list[NDArray[np.uint8]]:
    """Each whole on a thread: strips are slower, for all the memory that Pillow's need (docs/log.md)."""
    resized: dict[int, NDArray[np.uint8]] = {}

    def resize(number: int) -> None:
        resized[number] = np.asarray(image.resize(sizes[number], BICUBIC))

    for_each(resize, range(len(sizes)), pixels=image.width * image.height)
    return [resized[number] for number in range(len(sizes))]
