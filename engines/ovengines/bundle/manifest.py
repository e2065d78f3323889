"""The manifest: what a bundle says of itself, as dataclasses and as JSON.

Two version numbers: `LAYOUT_VERSION` counts changes to how files and fields are laid out, `SEMANTICS_VERSION`
changes to what a graph computes from the same inputs. A reader accepts older layouts and refuses newer ones.
A checksum over the fields finds a damaged manifest, whose own hashes find any other damaged file.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from ovengines.errors import ExitCode, OVError

LAYOUT_VERSION = 1
SEMANTICS_VERSION = 1
VERSIONS = {"layout_version": LAYOUT_VERSION, "semantics_version": SEMANTICS_VERSION}
CHECKSUM = "checksum"
CACHE_DTYPES = ("float32", "float16", "bfloat16")
DTYPES = ("float32", "float16", "bfloat16", "int64", "int32", "uint8")

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """How pixels become visual tokens; everything that tiling and the token plan need to know.

    Grid pinpoints are (height, width) in pixels, in the order of the checkpoint (the first one wins ties).
    """

    image_size_px: int
    patch_size_px: int
    grid_pinpoints: tuple[tuple[int, int], ...]
    max_tiles: int | None  # the 9 of anyres_max_9; None is plain anyres, which never reduces
    unpad_rounding: str  # "hf": int(round(x, 7)); "llava": int(x). The rule of the checkpoint's family.
    image_mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    image_std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    rescale_factor: float = 1 / 255

    @property
    def patches_per_side(self) -> int:
        """Tokens along one side of a tile: 27 for 384/14 (the last 6 px are never seen)."""
        return self.image_size_px // self.patch_size_px


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """The shape of the networks behind the graphs, and the ids of the tokens with a meaning."""

    name: str
    vision_hidden: int
    hidden: int
    vocab_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    max_positions: int
    image_token_id: int
    video_token_id: int | None
    pad_token_id: int
    eos_token_ids: tuple[int, ...]
    geometry: Geometry


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """One input or output of a graph: numpy-style dtype name, and a shape of numbers and symbols."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise _invalid(f"{self.name} has the unknown type {self.dtype!r}")


@dataclass(frozen=True, kw_only=True)
class GraphSpec:
    """One graph file: the role it plays (vision, projector, decoder, ...) for one target (ort, trt).

    `decoder_grouped` does what `decoder` does with the same weights, faster where the runtime is new enough for it.
    """

    role: str
    target: str
    file: str
    data_files: tuple[str, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    cache_form: str | None = None  # decoders only: how keys and values go in and out
    min_runtime: str | None = None  # oldest version of the target's runtime that loads it, where not all do

    @property
    def cache_dtype(self) -> str | None:
        """Type of the keys and values that a decoder takes; None for other graphs."""
        return next((tensor.dtype for tensor in self.inputs if tensor.name.startswith("past_key_values.")), None)


@dataclass(frozen=True, kw_only=True)
class FileSpec:
    """Size and SHA-256 of one file of the bundle, checked before use."""

    name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """All of `manifest.json`."""

    layout_version: int
    semantics_version: int
    created_by: str
    source: str  # Hub id or folder name of the checkpoint
    source_revision: str | None
    source_sha256: str  # over the files that hold the weights
    precision: str
    model: ModelSpec
    graphs: tuple[GraphSpec, ...]
    files: tuple[FileSpec, ...]

    def roles(self, target: str) -> tuple[str, ...]:
        return tuple(graph.role for graph in self.graphs if graph.target == target)

    def graph(self, role: str, target: str) -> GraphSpec:
        for graph in self.graphs:
            if (graph.role, graph.target) == (role, target):
                return graph
        raise OVError(
            ExitCode.BUNDLE_INVALID,
            f"the bundle has no {role} graph for target {target}",
            f"build it again with: ovexport build --target {'tensorrt' if target == 'trt' else target}",
        )


def to_json(manifest: Manifest) -> str:
    return json.dumps(with_checksum(dataclasses.asdict(manifest)), indent=1, ensure_ascii=False) + "\n"


def with_checksum(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest's own SHA-256 beside its fields: against damage, not against people."""
    fields = {name: value for name, value in raw.items() if name != CHECKSUM}
    canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return {**fields, CHECKSUM: hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()}


def from_json(text: str) -> Manifest:
    """Parse and type-check a manifest. Raises OVError (BUNDLE_INVALID) that names the field at fault."""
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as err:
        raise _invalid(f"manifest.json is not JSON: {err}") from err
    if not isinstance(raw, dict):
        raise _invalid("manifest.json is not a JSON object")
    for name, known in VERSIONS.items():
        _check_version(name, raw.get(name), known)
    fields = {name: value for name, value in raw.items() if name != CHECKSUM}
    manifest: Manifest = _parse(Manifest, fields, "manifest")
    if raw.get(CHECKSUM) != with_checksum(fields)[CHECKSUM]:
        raise _invalid("manifest.json does not match its own checksum")
    _check_values(manifest)
    return manifest


def _check_version(name: str, value: Any, known: int) -> None:
    if not isinstance(value, int) or value < 1:
        raise _invalid(f"manifest.{name} should be a number from 1 on, not {value!r}"[:200])
    if value > known:
        raise OVError(
            ExitCode.BUNDLE_INVALID,
            f"this bundle has {name.replace('_version', '')} {value}, newer than the {known} that this version reads",
            "upgrade with: pip install --upgrade ovexport",
        )


def _check_values(manifest: Manifest) -> None:
    """Numbers that code divides by, or allocates from, without looking again."""
    model, geometry = manifest.model, manifest.model.geometry
    counts = [model.vision_hidden, model.hidden, model.vocab_size, model.num_layers, model.num_heads]
    counts += [model.num_kv_heads, model.head_dim, model.max_positions, geometry.patch_size_px]
    if min(counts) < 1 or geometry.image_size_px < geometry.patch_size_px:
        raise _invalid("manifest.model has a size below 1")
    if 0 in geometry.image_std:
        raise _invalid("manifest.model.geometry.image_std has a zero")
    sides = [side for pinpoint in geometry.grid_pinpoints for side in pinpoint]
    if not sides or any(side < 1 or side % geometry.image_size_px for side in sides):
        raise _invalid("manifest.model.geometry.grid_pinpoints are not whole tiles")
    for graph in manifest.graphs:
        past = [tensor for tensor in graph.inputs if tensor.name.startswith("past_key_values.")]
        if graph.role.startswith("decoder") and len(past) != 2 * model.num_layers:
            raise _invalid(f"{graph.file} has {len(past)} cache inputs for {model.num_layers} layers")
        if any(tensor.dtype not in CACHE_DTYPES for tensor in past):
            raise _invalid(f"{graph.file} has a cache of a type that no engine here holds")


def _invalid(message: str) -> OVError:
    return OVError(ExitCode.BUNDLE_INVALID, message, "the bundle is damaged; build or copy it again")


def _parse(kind: Any, value: Any, where: str) -> Any:
    """`value` of parsed JSON as `kind`: a dataclass, tuple, union or scalar of the manifest's types."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        return _parse_dataclass(typing.cast(type, kind), value, where)
    if origin in (typing.Union, types.UnionType):
        return _parse_union(args, value, where)
    if origin is tuple:
        if not isinstance(value, list):
            raise _invalid(f"{where} should be a list")
        item_kinds = [args[0]] * len(value) if args[-1] is Ellipsis else list(args)
        if len(item_kinds) != len(value):
            raise _invalid(f"{where} should have {len(item_kinds)} items, not {len(value)}")
        return tuple(_parse(k, v, f"{where}[{i}]") for i, (k, v) in enumerate(zip(item_kinds, value, strict=True)))
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise _invalid(f"{where} should be {getattr(kind, '__name__', kind)}, not {type(value).__name__}")
    return value


def _parse_union(options: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in options:
        return None
    error: OVError | None = None
    for option in options:
        if option is not type(None):
            try:
                return _parse(option, value, where)
            except OVError as err:
                error = err
    raise error or _invalid(f"{where} has no possible type")


def _parse_dataclass(kind: type[T], value: Any, where: str) -> T:
    if not isinstance(value, Mapping):
        raise _invalid(f"{where} should be an object")
    hints = typing.get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    required = {n for n, f in fields.items() if f.default is dataclasses.MISSING}
    missing = sorted(required - value.keys())
    unknown = sorted(value.keys() - fields.keys())
    if missing or unknown:
        raise _invalid(f"{where} lacks {missing}" if missing else f"{where} has unknown fields {unknown}")
    return kind(**{n: _parse(hints[n], v, f"{where}.{n}") for n, v in value.items()})
