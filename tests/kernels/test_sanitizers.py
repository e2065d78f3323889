"""The native code under sanitizers: random and hostile plans in memory of the exact size, shared out to threads."""

from __future__ import annotations

import os
import random
import subprocess

import pytest
from kernel_builds import build


@pytest.mark.parametrize("name", ["check_token_pool", "check_resample"])
@pytest.mark.parametrize(("preset", "isa"), [("asan", "plain"), ("asan", "avx2"), ("tsan", "plain")])
def test_no_sanitizer_finds_anything(preset: str, isa: str, name: str) -> None:
    program = build(preset, name) / name
    seed = str(random.randrange(1 << 32))
    environment = {**os.environ, "OVK_CPU_ISA": isa}
    command = [program, "120", seed]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"seed {seed}: {done.stdout}{done.stderr[-4000:]}"
    assert seed in done.stdout
