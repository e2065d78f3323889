"""One thread, the tiny checkpoints of tests/checkpoint, and random models as folders and bundles."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

for area in ("model", "checkpoint"):
    sys.path.append(str(Path(__file__).resolve().parent.parent / area))


@pytest.fixture(autouse=True)
def _one_thread_and_own_home(one_thread_and_own_home: None) -> None:
    """For every test of this folder."""


@pytest.fixture(scope="session")
def random_models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], tuple[Path, Path]]:
    """A seed's random model: the folder of its checkpoint and that of its fp32 bundle, made once."""
    from tiny_checkpoint import checkpoint_config, write_hf

    from ovexport.build import build_bundle
    from ovexport.checkpoint import open_checkpoint
    from ovexport.checkpoint.chat_template import builtin_template
    from ovexport.plan import plan_build
    from ovexport.progress import Bars

    @cache
    def make(seed: int) -> tuple[Path, Path]:
        folder = tmp_path_factory.mktemp(f"evaluate-{seed}")
        drawn = checkpoint_config(seed, sides=3, tied=seed % 2 == 0)
        language = dataclasses.replace(
            drawn.language, hidden=96, num_heads=6, num_kv_heads=2, head_dim=16, max_positions=900
        )
        source, target = folder / "stage" / "checkpoint", folder / "random-fp32"
        write_hf(source, seed, config=dataclasses.replace(drawn, language=language))
        (source / "chat_template.jinja").write_text(builtin_template(has_video_token=True))
        with open_checkpoint(source) as checkpoint:
            plan = plan_build(checkpoint, "fp32", "ort")
            build_bundle(checkpoint, plan, target, verify="off", force=False, bars=Bars(quiet=True))
        return source, target

    return make
