"""Pillow's bicubic resize cut into strips, which threads share, to the same bits.

Pillow resizes along one axis and then along the other, rounding to 8 bits in between. Each pass computes every line by
itself, so it may be cut across its lines. Which axis comes first decides the bits, and depends on Pillow's version.

Axes: H W pixels, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image

from ovrun.tiling.threads import LEAST_PIXELS, for_each, shares

BICUBIC = Image.Resampling.BICUBIC
KNOWN_PILLOW = 13  # the last major version whose order of passes is known here
STRIPS = 8  # of a pass: so many that threads end together, so few that cutting costs little

Size = tuple[int, int]  # width and height in px, as Pillow has it


def resize_into(image: Image.Image, targets_HWC: Sequence[NDArray[np.uint8]]) -> None:
    """Fill each of the arrays with the RGB image resized to its size."""
    pixels, pillow = image.width * image.height, int(PIL.__version__.split(".")[0])
    is_thin = image.height > 100 * image.width  # for these Pillow 12 has a rule of its own
    if pillow > KNOWN_PILLOW or pixels < LEAST_PIXELS or is_thin:
        for_each(lambda target_HWC: _whole(image, target_HWC), targets_HWC, pixels=pixels)
        return
    resizes = [_Resize.of(image, target_HWC, pillow) for target_HWC in targets_HWC]
    for_each(lambda strip: strip.first_pass(), [s for one in resizes for s in one.strips(0)], pixels=pixels)
    for_each(lambda strip: strip.second_pass(), [s for one in resizes for s in one.strips(1)], pixels=pixels)


def first_axis(source: Size, target: Size, pillow: int) -> int:
    """0 for the width, 1 for the height: Pillow 13 starts with the height where that shrinks by more than twice as many
    pixels as the width does (its Resample.c); before, the width was first."""
    shrunk = [before - after for before, after in zip(source, target, strict=True)]
    return int(pillow >= 13 and shrunk[1] > 0 and shrunk[1] > 2 * shrunk[0])


def _whole(image: Image.Image, target_HWC: NDArray[np.uint8]) -> None:
    target_HWC[...] = np.asarray(image.resize((target_HWC.shape[1], target_HWC.shape[0]), BICUBIC))


@dataclass(frozen=True, kw_only=True)
class _Resize:
    """`axis` is resized first, from `image` to `between`, and the other one from there to the target."""

    image: Image.Image
    between: Image.Image
    target_HWC: NDArray[np.uint8]
    axis: int

    @classmethod
    def of(cls, image: Image.Image, target_HWC: NDArray[np.uint8], pillow: int) -> _Resize:
        target = (target_HWC.shape[1], target_HWC.shape[0])
        axis = first_axis(image.size, target, pillow)
        between = (target[0], image.height) if axis == 0 else (image.width, target[1])
        return cls(image=image, between=Image.new("RGB", between), target_HWC=target_HWC, axis=axis)

    def strips(self, number: int) -> list[_Strip]:
        """Of the first or second pass, cut along the axis that the pass leaves as it is."""
        kept = 1 - self.axis if number == 0 else self.axis
        length = (self.image if number == 0 else self.between).size[kept]
        return [_Strip(resize=self, axis=kept, start=start, stop=stop) for start, stop in shares(length, STRIPS)]


@dataclass(frozen=True, kw_only=True)
class _Strip:
    """Columns (`axis` 0) or rows (1) from `start` to `stop`."""

    resize: _Resize
    axis: int
    start: int
    stop: int

    def first_pass(self) -> None:
        strip = self._resized(self.resize.image, self.resize.between.size)
        self.resize.between.paste(strip, (self.start, 0) if self.axis == 0 else (0, self.start))

    def second_pass(self) -> None:
        target_HWC, own = self.resize.target_HWC, slice(self.start, self.stop)
        strip = self._resized(self.resize.between, (target_HWC.shape[1], target_HWC.shape[0]))
        target_HWC[(slice(None), own) if self.axis == 0 else own] = np.asarray(strip)

    def _resized(self, image: Image.Image, size: Size) -> Image.Image:
        """This strip of the image; `size` is that of the whole after the pass."""
        lines = self.stop - self.start
        if self.axis == 0:
            return image.crop((self.start, 0, self.stop, image.height)).resize((lines, size[1]), BICUBIC)
        return image.crop((0, self.start, image.width, self.stop)).resize((size[0], lines), BICUBIC)
