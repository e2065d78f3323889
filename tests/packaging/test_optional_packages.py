"""What needs which extra: the demo's commands run without those of training, help and recipes without PyTorch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ovengines.errors import ExitCode
from ovexport.cli import COMMANDS

TRAIN_ONLY = ("yaml", "matplotlib", "tensorboard", "tomli")
HEAVY = (*TRAIN_ONLY, "torch", "safetensors", "onnx", "onnxruntime", "huggingface_hub", "transformers")
PROGRAM = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {absent!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
from {module} import main
sys.exit(main(sys.argv[1:]))
"""


def run_without(absent: tuple[str, ...], module: str, *words: object) -> subprocess.CompletedProcess[str]:
    program = PROGRAM.format(absent=absent, module=module)
    command = [sys.executable, "-c", program, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_demo_needs_nothing_of_training(tmp_path: Path) -> None:
    bundle, picture = tmp_path / "bundle", Path(__file__).parents[2] / "examples" / "tile.png"
    for module, *words in (
        ("ovexport.cli", "build", "-o", bundle, "-q"),
        ("ovexport.cli", "inspect", bundle),
        ("ovrun.cli", picture, "-m", bundle),
        ("ovexport.cli", "eval", bundle, "ov-tiny", "--per-family", 1, "--limit", 2),
    ):
        done = run_without(TRAIN_ONLY, str(module), *words)
        assert (done.returncode, bool(done.stdout)) == (0, True), done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        *([name, "--help"] for name in COMMANDS),
        ["train", "show", "stage2-ov", "--size", "7b"],
        ["data", "draw", "DRAWN", "--kinds", "table,motion", "--count", "2"],
    ],
    ids=" ".join,
)
def test_help_recipes_and_drawings_need_no_pytorch(words: list[str], tmp_path: Path) -> None:
    done = run_without(HEAVY, "ovexport.cli", *(word.replace("DRAWN", str(tmp_path)) for word in words))
    assert done.returncode == 0 and done.stdout, done.stderr


@pytest.mark.parametrize(("absent", "words"), [("yaml", ["data", "stats", "stage1"]), ("torch", ["build"])])
def test_what_is_missing_is_named_with_its_extra(absent: str, words: list[str]) -> None:
    done = run_without((absent,), "ovexport.cli", *words)
    assert (done.returncode, done.stdout) == (ExitCode.MISSING_DEPENDENCY, "")
    assert f"'{absent}'" in done.stderr and "[train]" in done.stderr and "Traceback" not in done.stderr
