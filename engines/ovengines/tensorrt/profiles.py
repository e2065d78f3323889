"""Optimisation profiles: the least, usual and largest shape of every input, from the manifest and the recipe.

No size is ever 0: what is empty gets one dummy row. Axes' symbols are those of the graphs (docs/bundle-format.md).
"""

from __future__ import annotations

from dataclasses import dataclass

from ovengines.bundle.manifest import Geometry, GraphSpec, ModelSpec
from ovengines.errors import ExitCode, OVError
from ovengines.tensorrt.recipe import Recipe

PAST_STEP = 256  # a decode step sees its past rounded up to at least this many rows, so that shapes recur
READ, STEP = 0, 1  # the decoder's two profiles: several tokens after any past, one token after a rounded past
_MOST_POOLED_TOKENS = 16_384  # of one run; longer plans go in pieces

Shape = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Range:
    """The values that an axis takes."""

    least: int
    usual: int
    most: int


@dataclass(frozen=True, kw_only=True)
class Profile:
    """(least, usual, largest) shape by input, for the inputs with an axis that varies."""

    shapes: dict[str, tuple[Shape, Shape, Shape]]


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """The largest sizes that the engines of a bundle take in one run."""

    tower_tiles: int
    pooled_tiles: int
    pooled_tokens: int
    capacity_tokens: int  # of a conversation
    past_rows: int  # the capacity rounded up to a multiple of PAST_STEP: what a step may see
    chunk_tokens: int
    logits_rows: int


def bounds_of(model: ModelSpec, recipe: Recipe) -> Bounds:
    """What the recipe allows, as far as the model can make use of it."""
    geometry = model.geometry
    tiles = _most_tiles(geometry)
    context = min(recipe.context_tokens, model.max_positions)
    return Bounds(
        tower_tiles=min(recipe.tower_tiles, tiles),
        pooled_tiles=max(4, min(recipe.pooled_tiles, tiles)),  # a token has at most four sources
        pooled_tokens=min(_most_tokens(geometry), _MOST_POOLED_TOKENS),
        capacity_tokens=context,
        past_rows=-(-context // PAST_STEP) * PAST_STEP,
        chunk_tokens=min(recipe.chunk_tokens, context),
        logits_rows=min(recipe.logits_rows, recipe.chunk_tokens, context),
    )


def profiles_for(graph: GraphSpec, bounds: Bounds) -> tuple[Profile, ...]:
    """The profiles of a graph. Raises OVError (BUNDLE_INVALID) for an axis that is none of the contract's."""
    if graph.role == "vision":
        return (_profile(graph, {"tiles": _up_to(bounds.tower_tiles)}),)
    if graph.role == "projector":
        return (_profile(graph, {"tiles": _up_to(bounds.pooled_tiles), "tokens": _up_to(bounds.pooled_tokens)}),)
    return (_profile(graph, _read_ranges(bounds)), _profile(graph, _step_ranges(bounds)))


def _read_ranges(bounds: Bounds) -> dict[str, Range]:
    chunk, most = bounds.chunk_tokens, bounds.past_rows
    usual = max(1, most // 4)
    return {
        "batch": _exactly(1),
        "sequence": _up_to(chunk),
        "past": Range(least=1, usual=usual, most=most),
        "total": Range(least=2, usual=usual + chunk, most=most + chunk),
        "rows": Range(least=1, usual=1, most=bounds.logits_rows),
        "image_tokens": _up_to(chunk),
    }


def _step_ranges(bounds: Bounds) -> dict[str, Range]:
    most = bounds.past_rows
    usual = max(PAST_STEP, most // 4)
    return {
        **{axis: _exactly(1) for axis in ("batch", "sequence", "rows", "image_tokens")},
        "past": Range(least=PAST_STEP, usual=usual, most=most),
        "total": Range(least=PAST_STEP + 1, usual=usual + 1, most=most + 1),
    }


def _exactly(size: int) -> Range:
    return Range(least=size, usual=size, most=size)


def _up_to(most: int) -> Range:
    return Range(least=1, usual=most, most=most)


def _profile(graph: GraphSpec, ranges: dict[str, Range]) -> Profile:
    shapes = {}
    for tensor in graph.inputs:
        if all(isinstance(size, int) for size in tensor.shape):
            continue
        axes = [_exactly(size) if isinstance(size, int) else ranges.get(size) for size in tensor.shape]
        if None in axes:
            raise OVError(
                ExitCode.BUNDLE_INVALID,
                f"{graph.file} has the input {tensor.name} {list(tensor.shape)}, of unknown axes",
                "build the bundle again with: ovexport build --target tensorrt",
            )
        known = [axis for axis in axes if axis]
        shapes[tensor.name] = (
            tuple(axis.least for axis in known),
            tuple(axis.usual for axis in known),
            tuple(axis.most for axis in known),
        )
    return Profile(shapes=shapes)


def _most_tiles(geometry: Geometry) -> int:
    """Of one picture: the base view and the largest grid."""
    side = geometry.image_size_px
    return 1 + max(height * width // side**2 for height, width in geometry.grid_pinpoints)


def _most_tokens(geometry: Geometry) -> int:
    """Of one picture, rounded up: the base view, the grid's patches, and a newline for each of its rows.

    Grids of more than 1.21 times `max_tiles` tiles are reduced to about `max_tiles` (the root of the tau rule is 1.1).
    """
    patches = geometry.patches_per_side
    grid_tiles: float = _most_tiles(geometry) - 1
    if geometry.max_tiles is not None:
        grid_tiles = min(grid_tiles, 1.21 * geometry.max_tiles)
    rows = max(height // geometry.image_size_px for height, _ in geometry.grid_pinpoints) * patches
    return int(patches**2 * (1 + grid_tiles)) + 1 + rows
