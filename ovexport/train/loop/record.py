"""training.json: what a stage says of itself, in its folder while it runs and in its checkpoint when it is done.

It is how a run that goes on notices that it was given another recipe, and that there is nothing left to do.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ovengines.errors import ExitCode, OVError
from ovexport.train.loop.start import CHECKPOINT, TRAINING_FILE, read_training
from ovexport.train.loop.state import latest_state, step_of
from ovexport.train.loop.whole_file import write_whole
from ovexport.train.recipe.kinds import KINDS, REFUSED
from ovexport.train.recipe.recipe import Recipe

STATES = "states"
_LEARNS_THE_SAME = ("workers", "save_every", "recompute")


def write_training(out: Path, recipe: Recipe, origins: Mapping[str, str], total_steps: int) -> None:
    """The recipe beside what it makes, with the origin of every value."""
    out.mkdir(parents=True, exist_ok=True)
    content = {
        "stage": recipe.stage,
        "size": recipe.size,
        "steps": total_steps,
        "recipe": dataclasses.asdict(recipe),
        "origins": dict(origins),
    }
    write_whole(out / TRAINING_FILE, (json.dumps(content, indent=1) + "\n").encode())


def check_same_recipe(out: Path, recipe: Recipe) -> None:
    """Raises OVError (USAGE) when the state in `out` comes from a recipe that learns something else."""
    state = latest_state(out / STATES)
    if state is None:
        return
    before = read_training(out).get("recipe", {})
    now = json.loads(json.dumps(dataclasses.asdict(recipe)))
    changed = [name for name in now if name not in _LEARNS_THE_SAME and before.get(name, now[name]) != now[name]]
    if changed:
        values = "; ".join(f"{name} was {_shown(name, before)} and is now {_shown(name, now)}" for name in changed)
        raise OVError(
            ExitCode.USAGE,
            f"{out} holds {state.name} of another recipe: {values}",
            "give the values of before, another --out, or --resume never to start anew",
        )


def is_finished(out: Path) -> bool:
    """Whether the checkpoint is there and comes from the last state that is."""
    state = latest_state(out / STATES)
    written = read_training(out / CHECKPOINT)
    return state is not None and written.get("steps") == step_of(state) and written == read_training(out)


def _shown(name: str, values: Mapping[str, Any]) -> str:
    """As `ovexport train show` has it, or as it was written if it is no value that it could have."""
    value, kind = values[name], KINDS[name]
    try:
        return kind.write(None if value is None else kind.accept(value))
    except REFUSED:
        return json.dumps(value)
