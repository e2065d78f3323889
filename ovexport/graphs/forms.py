"""What a graph file asks an emitter for: matrices, norms and tables by the names of their parameters.

Engine-neutral; the parameters' names are those of `ovexport.model.OneVision`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Linear:
    """One linear layer, or several that read the same input and are multiplied as one wide matrix."""

    names: tuple[str, ...]  # modules, e.g. language_model.layers.0.self_attn.q_proj
    rows: int  # outputs of all of them together
    columns: int
    bias: bool
    form: str

    @property
    def tensors(self) -> list[str]:
        return [f"{name}.weight" for name in self.names]

    def joined(self, kind: str) -> str:
        """Name of the joined tensor: a.b.q_proj + a.b.k_proj -> a.b.q_proj+k_proj.weight."""
        first, *rest = self.names
        return "+".join([first, *(name.rsplit(".", 1)[-1] for name in rest)]) + f".{kind}"


@dataclass(frozen=True, kw_only=True)
class Norm:
    name: str
    size: int
    eps: float


@dataclass(frozen=True, kw_only=True)
class Table:
    """A vocabulary's table [V, D]: read by row as embedding, multiplied whole as head."""

    tensor: str
    rows: int
    columns: int
    form: str
