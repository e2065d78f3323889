"""A bundle's manifest as text for a person: what it was made from, its graphs, and its files."""

from __future__ import annotations

from ovengines.bundle.manifest import GraphSpec, TensorSpec
from ovengines.bundle.reader import Bundle

CACHE_PREFIXES = ("past_key_values.", "present.")


def describe(bundle: Bundle) -> str:
    manifest = bundle.manifest
    model, geometry = manifest.model, manifest.model.geometry
    revision = f" at {manifest.source_revision}" if manifest.source_revision else ""
    side = geometry.patches_per_side
    grids = f"{len(geometry.grid_pinpoints)} grids"
    cap = "no cap" if geometry.max_tiles is None else f"anyres_max_{geometry.max_tiles}"
    lines = [
        f"bundle     {bundle.path}",
        f"source     {manifest.source}{revision}, weights sha256 {manifest.source_sha256[:16]}...",
        f"made by    {manifest.created_by}, layout {manifest.layout_version}, semantics {manifest.semantics_version}",
        f"precision  {manifest.precision}",
        f"image      {geometry.image_size_px} px tiles of {side}x{side} tokens, {grids}, {cap}",
        f"language   {model.num_layers} layers of {model.hidden}, {model.num_heads}/{model.num_kv_heads} heads,"
        f" {model.vocab_size} tokens, context {model.max_positions}",
        "",
        *(line for graph in manifest.graphs for line in _describe_graph(graph)),
        "",
        *(f"{file.size_bytes / 1e6:10.2f} MB  {file.sha256[:16]}...  {file.name}" for file in manifest.files),
    ]
    return "\n".join(lines)


def _describe_graph(graph: GraphSpec) -> list[str]:
    form = f", cache form {graph.cache_form}" if graph.cache_form else ""
    return [
        f"{graph.role} ({graph.target}): {graph.file}{form}",
        *(f"  in   {_tensor(t)}" for t in graph.inputs if not t.name.startswith(CACHE_PREFIXES)),
        *(f"  out  {_tensor(t)}" for t in graph.outputs if not t.name.startswith(CACHE_PREFIXES)),
        *_describe_cache(graph),
    ]


def _describe_cache(graph: GraphSpec) -> list[str]:
    cached = [t for t in graph.inputs if t.name.startswith(CACHE_PREFIXES)]
    return [f"  cache {len(cached)} x {_tensor(cached[0])}"] if cached else []


def _tensor(spec: TensorSpec) -> str:
    return f"{spec.name} {spec.dtype} [{', '.join(map(str, spec.shape))}]"
