"""Do the tensors of the files fit the model of the config? Everything that is wrong is said at once.

Knows the shapes that `ovexport.model` wants (from a model without storage) and the names of the files.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import torch
from torch import nn

from ovexport.checkpoint.json_fields import bad_checkpoint
from ovexport.checkpoint.layouts import IGNORED_SUFFIXES, Layout
from ovexport.checkpoint.tensor_files import TensorFiles
from ovexport.model.config import OneVisionConfig
from ovexport.model.onevision import OneVision

SHOWN = 10  # names of each kind of fault
HEAD, TABLE = "language_model.lm_head.weight", "language_model.embed_tokens.weight"


def model_shapes(config: OneVisionConfig) -> dict[str, tuple[int, ...]]:
    """Own names and shapes of all parameters. Raises OVError (BAD_INPUT) for absurd sizes."""
    return module_shapes(lambda: OneVision(config))


def module_shapes(build: Callable[[], nn.Module]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of parameters, without allocating any. Raises OVError (BAD_INPUT) for absurd sizes."""
    try:
        with torch.device("meta"):
            module = build()
    except RuntimeError as err:  # more elements than 64 bits count
        raise bad_checkpoint("the sizes in config.json make a model that no machine can hold") from err
    return {name: tuple(parameter.shape) for name, parameter in module.named_parameters()}


def check_fit(config: OneVisionConfig, layout: Layout, files: TensorFiles) -> None:
    """Raises one OVError (BAD_INPUT) naming missing, unexpected and misshapen tensors as the files call them."""
    wanted = {layout.file_name(name): shape for name, shape in model_shapes(config).items()}
    optional = {layout.file_name(HEAD)} if config.language.tie_word_embeddings else set()
    check_tensors(wanted, files, unexpected=set(files.names()) - wanted.keys() - optional, naming=layout.name)


def check_tensors(
    wanted: Mapping[str, tuple[int, ...]], files: TensorFiles, *, unexpected: Collection[str], naming: str
) -> None:
    """Raises one OVError (BAD_INPUT) for all that is missing or misshapen, and for what is `unexpected`."""
    stored = set(files.names())
    misshapen = [
        f"{name} is {list(files.shape(name))} and not {list(wanted[name])}"
        for name in wanted.keys() & stored
        if files.shape(name) != wanted[name]
    ]
    strange = [name for name in unexpected if not name.endswith(IGNORED_SUFFIXES)]
    kinds = (("missing", wanted.keys() - stored), ("unexpected", strange), ("of the wrong shape", misshapen))
    faults = [_summary(kind, sorted(names)) for kind, names in kinds if names]
    if faults:
        raise bad_checkpoint(
            f"the weights (names as in {naming}) do not fit config.json: " + "; ".join(faults),
            "config.json and weights are of different models, or the download is incomplete",
        )


def is_tied(layout: Layout, files: TensorFiles, declared: bool | None) -> bool:
    """Whether the head is the embedding table: declared so and absent or equal, or undeclared and absent."""
    head, table = layout.file_name(HEAD), layout.file_name(TABLE)
    names = set(files.names())
    if head not in names:
        return declared is not False  # a head that is declared separate and absent is a fault, not a tie
    if not declared or table not in names or files.shape(head) != files.shape(table):
        return False
    return files.dtype(head) == files.dtype(table) and torch.equal(files.tensor(head), files.tensor(table))


def own_shapes(layout: Layout, files: TensorFiles) -> dict[str, tuple[int, ...]]:
    return {own: files.shape(name) for name, own in _own_names(layout, files.names())}


def _own_names(layout: Layout, names: Iterable[str]) -> list[tuple[str, str]]:
    return [(name, own) for name in names if (own := layout.own_name(name)) is not None]


def _summary(kind: str, names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{len(names)} {kind}: {', '.join(names[:SHOWN])}{more}"
