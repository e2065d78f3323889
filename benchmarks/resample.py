"""Bicubic resizes of pictures by the kernels' library against Pillow's own: `python -m benchmarks.resample`.

Each makes what a picture needs before the vision tower: its base view and what is cut into tiles, or a view alone for a
frame of a video. In turns, on as many threads as the process may use, from pixels in Pillow's memory; the results are
compared bit by bit before anything is timed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from PIL import Image

from benchmarks.measure import short, spread, take_turns, times_faster
from benchmarks.token_pool import RELEASED
from ovkernels import implementation, native_resample
from ovrun.tiling import resize
from ovrun.tiling.grid import select_grid
from ovrun.tiling.tiles import place_on_canvas

TILE_PX = RELEASED.image_size_px
PICTURES = {"12 megapixels": (4000, 3000), "640 x 480": (640, 480)}
FRAMES = {"frame of 1,920 x 1,080": (1920, 1080)}


def targets(width_px: int, height_px: int) -> list[resize.Size]:
    rows, columns = select_grid(height_px, width_px, RELEASED)
    _, _, height, width = place_on_canvas(height_px, width_px, rows * TILE_PX, columns * TILE_PX)
    return [(TILE_PX, TILE_PX), (width, height)]


def compared(source: resize.Size, sizes: Sequence[resize.Size], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each round. Raises ValueError where pixels differ."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (source[1], source[0], 3), dtype=np.uint8))
    ways = {"ours": resize.resize_to_each, "Pillow": resize.by_pillow}
    ours, theirs = (way(image, sizes) for way in ways.values())
    if not all(map(np.array_equal, ours, theirs)):
        raise ValueError(f"other pixels than Pillow's: {source} to {sizes}")

    def took_ms(way: Callable[..., object]) -> float:
        started = time.perf_counter()
        way(image, sizes)
        return (time.perf_counter() - started) * 1e3

    return take_turns({name: partial(took_ms, way) for name, way in ways.items()}, rounds)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.resample", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=31)
    args = parser.parse_args(argv)
    if native_resample() is None:
        parser.exit(1, f"there is nothing to compare: {implementation()}\n")
    print("| what | times as fast | ours against Pillow |\n|---|---|---|")
    works = {name: (size, targets(*size)) for name, size in PICTURES.items()}
    works |= {name: (size, [(TILE_PX, TILE_PX)]) for name, size in FRAMES.items()}
    for name, (size, sizes) in works.items():
        ours_ms, theirs_ms = compared(size, sizes, args.rounds).values()
        what = f"{name} to {' and '.join(f'{w} x {h}' for w, h in sizes)}"
        detail = f"{short(spread(ours_ms).median)} ms against {short(spread(theirs_ms).median)} ms"
        print(f"| {what} | {times_faster(ours_ms, theirs_ms)} | {detail} |")


if __name__ == "__main__":
    main()
