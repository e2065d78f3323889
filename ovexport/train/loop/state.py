"""The state of a run on disk: weights, optimizers, step and random numbers, sharded, whole or not there at all.

Each state is a folder of its own that gets its name when it is complete, so a kill at any moment leaves the one before.
torch.distributed.checkpoint writes it, so a state loads on any number of processes. The step is also the position in
the data: the order of an epoch is a pure function of the seed.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

from ovengines.errors import ExitCode, OVError
from ovengines.replacement import FULL
from ovexport.train.loop.optimizer import Optimizers
from ovexport.train.loop.parallel import Processes

KEPT = 2  # the newest states; older ones are deleted
_PREFIX, _PARTIAL, _OLD = "step-", ".partial", ".old"
_FAILURES = (Exception, CheckpointException)  # the second is no Exception


def save_state(folder: Path, model: nn.Module, optimizers: Optimizers, step: int, processes: Processes) -> Path:
    """Write the state after `step` steps; all processes call it. Raises OVError (LIMIT_EXCEEDED) for a full disk."""
    path = state_path(folder, step)
    partial = path.with_name(path.name + _PARTIAL)
    if processes.is_first:
        for abandoned in folder.glob(f"*{_PARTIAL}"):
            shutil.rmtree(abandoned, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
    processes.barrier()
    try:
        with _alone_is_fine():
            dcp.save(_state(model, optimizers), checkpoint_id=partial, no_dist=processes.mode == "one")
    except _FAILURES as err:
        if processes.is_first:
            shutil.rmtree(partial, ignore_errors=True)
        if any(isinstance(cause, KeyboardInterrupt) for cause in _causes(err)):
            raise KeyboardInterrupt from err
        raise _not_saved(err, path, latest_state(folder)) from err
    if processes.is_first:
        shutil.rmtree(path, ignore_errors=True)
        partial.rename(path)
        for old in states(folder)[:-KEPT]:
            shutil.rmtree(old)
    processes.barrier()
    return path


def load_state(path: Path, model: nn.Module, optimizers: Optimizers, processes: Processes) -> int:
    """Fill model, optimizers and random numbers from a state; returns its step. Raises OVError (BAD_INPUT)."""
    state = _state(model, optimizers)
    try:
        with _alone_is_fine():
            dcp.load(state, checkpoint_id=path, no_dist=processes.mode == "one")
    except _FAILURES as err:  # of many kinds, for a state of another model or a damaged one
        raise OVError(
            ExitCode.BAD_INPUT,
            f"the state {path} can't be loaded: {_reason(err)}",
            f"delete the folder to go on from {_before(path)}",
        ) from err
    options = StateDictOptions(strict=False)  # frozen parameters are not in it
    set_model_state_dict(model, state["model"], options=options)
    set_optimizer_state_dict(model, optimizers, optim_state_dict=state["optimizers"])
    torch.set_rng_state(state["random"])
    return step_of(path)


def states(folder: Path) -> list[Path]:
    """Complete states, oldest first."""
    return sorted(path for path in folder.glob(f"{_PREFIX}*") if path.name.removeprefix(_PREFIX).isdigit())


def latest_state(folder: Path) -> Path | None:
    return next(reversed(states(folder)), None)


def state_path(folder: Path, step: int) -> Path:
    return folder / f"{_PREFIX}{step:08d}"


def step_of(path: Path) -> int:
    """The steps done when a state was saved."""
    return int(path.name.removeprefix(_PREFIX))


def forget_states(folder: Path) -> None:
    """Delete all states; a kill meanwhile leaves all or none under their name."""
    old = folder.with_name(folder.name + _OLD)
    shutil.rmtree(old, ignore_errors=True)
    if folder.is_dir():
        folder.rename(old)
        shutil.rmtree(old)


def _state(model: nn.Module, optimizers: Optimizers) -> dict[str, Any]:
    """Frozen parameters are as in the checkpoint that the stage started from, so they are left out."""
    options = StateDictOptions(ignore_frozen_params=True)
    return {
        "model": get_model_state_dict(model, options=options),
        "optimizers": get_optimizer_state_dict(model, optimizers, options=options),
        "random": torch.get_rng_state(),
    }


@contextmanager
def _alone_is_fine() -> Iterator[None]:
    """Without PyTorch's warning that no processes were started, where none are meant to be."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled, unavailable or uninitialized", UserWarning)
        yield


def _not_saved(err: BaseException, path: Path, kept: Path | None) -> OVError:
    left = f"the state {kept.name} is kept, and the next run goes on from it" if kept else "there is no older state"
    return OVError(ExitCode.LIMIT_EXCEEDED, f"{path.name} could not be saved: {_reason(err)}", f"free space; {left}")


def _reason(err: BaseException) -> str:
    """The cause in a few words: it arrives inside other errors, one per process."""
    causes = _causes(err)
    if any(isinstance(cause, OSError) and cause.errno in FULL for cause in causes):
        return "the disk is full"
    text = str(causes[-1]).strip() or type(causes[-1]).__name__
    if "No space left" in text or "unexpected pos" in text:  # what torch.save makes of a write that was cut short
        return "the disk is full"
    return text.splitlines()[0][:200]


def _causes(err: BaseException) -> list[BaseException]:
    """The error, then what it was raised from or for."""
    if isinstance(err, CheckpointException):
        return [err, *(cause for failure, _ in err.failures.values() for cause in _causes(failure))]
    inner = err.__cause__ or err.__context__
    return [err] if inner is None else [err, *_causes(inner)]


def _before(path: Path) -> str:
    older = [other.name for other in states(path.parent) if other < path]
    return older[-1] if older else "the start of the stage"
