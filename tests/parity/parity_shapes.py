"""Which random models, and which sizes of images, the bundle is compared with transformers on."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from tiny_checkpoint import checkpoint_config

from ovengines.bundle.manifest import Geometry
from ovexport.model import OneVisionConfig

Size = tuple[int, int]  # height, width in px


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Everything else of the model is drawn with the seed. `saved_by`: who writes the checkpoint's folder."""

    seed: int
    image_px: int
    patch_px: int
    kv_heads: int
    group: int  # query heads per key/value head
    head_dim: int
    tied: bool
    saved_by: str
    vocabulary: int = 330  # the tokenizer has 305 tokens: the other rows are padding
    max_tiles: int = 9

    def config(self) -> OneVisionConfig:
        drawn = checkpoint_config(self.seed, tied=self.tied)
        heads = self.kv_heads * self.group
        sides = range(1, 7)
        pinpoints = tuple((self.image_px * rows, self.image_px * columns) for rows in sides for columns in sides)
        return dataclasses.replace(
            drawn,
            vision=dataclasses.replace(drawn.vision, image_size_px=self.image_px, patch_size_px=self.patch_px),
            language=dataclasses.replace(
                drawn.language,
                vocab_size=self.vocabulary,
                hidden=heads * self.head_dim,
                num_heads=heads,
                num_kv_heads=self.kv_heads,
                head_dim=self.head_dim,
            ),
            geometry=Geometry(
                image_size_px=self.image_px,
                patch_size_px=self.patch_px,
                grid_pinpoints=pinpoints,
                max_tiles=self.max_tiles,
                unpad_rounding="hf",
            ),
        )


SHAPES = {
    "main": Shape(
        seed=1, image_px=104, patch_px=14, kv_heads=2, group=2, head_dim=16, tied=False, saved_by="transformers"
    ),
    "seven_heads": Shape(
        seed=2, image_px=104, patch_px=14, kv_heads=2, group=7, head_dim=16, tied=True, saved_by="ovexport"
    ),
    "head_of_64": Shape(
        seed=3, image_px=28, patch_px=4, kv_heads=1, group=7, head_dim=64, tied=True, saved_by="transformers"
    ),
    "no_groups": Shape(
        seed=4, image_px=30, patch_px=7, kv_heads=3, group=1, head_dim=48, tied=False, saved_by="ovexport"
    ),
    "head_of_128": Shape(
        seed=5, image_px=56, patch_px=14, kv_heads=1, group=2, head_dim=128, tied=False, saved_by="transformers"
    ),
    "padded": Shape(
        seed=6,
        image_px=40,
        patch_px=8,
        kv_heads=2,
        group=3,
        head_dim=80,
        tied=True,
        saved_by="ovexport",
        vocabulary=704,
        max_tiles=4,
    ),
}

# Of the released checkpoints, whose tiles are 384 px (docs of the model, and sizes where a rule changes).
RELEASED_SIZES = (
    *[(899, 1024), (384, 384), (300, 300), (100, 1000), (1000, 100), (480, 640), (640, 480), (720, 1280)],
    *[(333, 500), (500, 333), (768, 768), (1080, 1920), (1920, 1080), (2304, 2304), (3000, 4000), (4000, 3000)],
    *[(1152, 1152), (1270, 1270), (600, 2304), (1600, 2300), (1, 2304), (1153, 944)],
)
# Where int(x) and int(round(x, 7)) leave different rows, by image and patch size (a search over all sizes).
ROUNDING_SIZES = {
    (104, 14): ((49, 343), (94, 658), (308, 396), (343, 49), (440, 616), (658, 423)),
    (28, 4): ((77, 99), (99, 154)),
    (30, 7): ((88, 110), (176, 110)),
    (56, 14): ((47, 376), (201, 268), (376, 47)),
    (40, 8): ((94, 235), (235, 188)),
}
# Single pixels, thin, exact multiples of a tile, one off; of tiles of 104 px.
EDGE_SIZES = (
    *[(1, 1), (1, 2), (2, 1), (3, 3), (1, 104), (104, 1), (1, 624), (624, 1), (3, 500), (500, 3), (2, 2304)],
    *[(104, 104), (104, 208), (208, 104), (208, 208), (312, 624), (624, 312), (416, 520), (624, 624)],
    *[(103, 105), (105, 103), (209, 207), (207, 209), (313, 311), (625, 623), (7, 623), (84, 84), (97, 131)],
)


def scaled(size: Size, image_px: int, of_px: int) -> Size:
    height, width = (max(1, round(side * image_px / of_px)) for side in size)
    return height, width


def sizes_of(name: str) -> list[Size]:
    """All sizes for the main shape, a few of each kind for the others."""
    shape = SHAPES[name]
    rounding = ROUNDING_SIZES[shape.image_px, shape.patch_px]
    step = 1 if name == "main" else 7
    start = 0 if name == "main" else shape.seed
    released = [scaled(size, shape.image_px, 384) for size in RELEASED_SIZES[start::step]]
    edges = [scaled(size, shape.image_px, 104) for size in EDGE_SIZES[start::step]]
    return list(dict.fromkeys([*edges, *released, *rounding]))
