"""What is refused of a recipe: wrong values, files, stages and sizes, each with an error that says what is wrong."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest

from ovengines.errors import ExitCode, OVError
from ovexport.train.recipe import resolve


def refused(code: ExitCode, *fragments: str, **asked: Any) -> OVError:
    with pytest.raises(OVError) as caught:
        resolve(**{"stage": "stage2-ov", "size": "7b", **asked})
    assert caught.value.code == code, caught.value
    for fragment in fragments:
        assert fragment in str(caught.value), caught.value
    return caught.value


@pytest.mark.parametrize(
    ("name", "text", "fragments"),
    [
        ("lerning_rate", "1", ("lerning_rate", "there are")),
        ("langauge_lr", "1", ("did you mean language_lr?",)),
        ("language-lr", "1", ("did you mean language_lr?",)),
        ("stage", "stage1", ("no value of a recipe",)),
        ("language_lr", "fast", ("'fast'", "not a number")),
        ("language_lr", "nan", ("not a number",)),
        ("language_lr", "inf", ("not a number",)),
        ("language_lr", "-1e-5", ("out of range", "command line")),
        ("language_lr", "0", ("must be positive", "language is trained")),
        ("vision_lr", "0.0", ("must be positive", "leave vision out of trainable")),
        ("global_batch", "12.5", ("not a whole number",)),
        ("global_batch", "0", ("out of range",)),
        ("global_batch", "", ("not a whole number",)),
        ("device_batch", "3", ("global_batch is 256", "multiple of device_batch")),
        ("max_steps", "-1", ("out of range",)),
        ("max_steps", "null", ("whole number or none",)),
        ("betas", "0.9", ("not two numbers",)),
        ("betas", "0.9,1", ("out of range",)),
        ("betas", "0.9,0.99,0.999", ("not two numbers",)),
        ("trainable", "vision,adapter", ("('vision', 'adapter')", "vision, projector, language")),
        ("trainable", "", ("not names",)),
        ("trainable", "vision,vision", ("twice",)),
        ("recompute", "maybe", ("true or false",)),
        ("precision", "fp16", ("bf16, fp32",)),
        ("optimizer", "adam", ("did you mean adamw?",)),
        ("template", "plain", ("needs square views",)),
        ("template", "vicuna_v1", ("plain, qwen_1_5",)),
        ("aspect_ratio", "square", ("does not go with merge",)),
        ("merge", "flat", ("does not go with merge",)),
        ("grid_pinpoints", "none", ("does not go with aspect_ratio",)),
        ("grid_pinpoints", "2x2,2x2", ("twice",)),
        ("grid_pinpoints", "0x2", ("out of range",)),
        ("grid_pinpoints", "(1x1),...,(9999x9999)", ("not grids",)),
        ("grid_pinpoints", "2by2", ("not grids",)),
        ("max_visual_tokens", "100", ("follows from",)),
        ("start_from", "stage2-ov", ("can't be the stage itself",)),
        ("data", " ", ("not a text",)),
        ("seed", "-1", ("out of range",)),
    ],
)
def test_wrong_values_are_refused(name: str, text: str, fragments: tuple[str, ...]) -> None:
    error = refused(ExitCode.USAGE, *fragments, overrides={name: text})
    assert error.hint


@pytest.mark.parametrize(
    ("line", "code", "fragments"),
    [
        ("langauge_lr = 1", ExitCode.USAGE, ("file a.toml", "did you mean language_lr?")),
        ("[stage1]\nseed = 1", ExitCode.USAGE, ("stage1 (file a.toml)",)),
        ("language_lr = '1e-5'", ExitCode.USAGE, ("'1e-5'", "not a number")),
        ("language_lr = true", ExitCode.USAGE, ("not a number",)),
        ("language_lr = nan", ExitCode.USAGE, ("not a number",)),
        (f"language_lr = 1{'0' * 400}", ExitCode.USAGE, ("not a number",)),
        ("seed = 1.0", ExitCode.USAGE, ("not a whole number",)),
        ("seed = true", ExitCode.USAGE, ("not a whole number",)),
        ("recompute = 1", ExitCode.USAGE, ("true or false",)),
        ("recompute = 'true'", ExitCode.USAGE, ("true or false",)),
        ("betas = [0.9, '0.99']", ExitCode.USAGE, ("two numbers",)),
        ("betas = 0.9", ExitCode.USAGE, ("two numbers",)),
        ("trainable = [1]", ExitCode.USAGE, ("names",)),
        ("grid_pinpoints = [[1, 2, 3]]", ExitCode.USAGE, ("grids",)),
        ("grid_pinpoints = [[1.0, 2]]", ExitCode.USAGE, ("grids",)),
        ("data = 1979-05-27", ExitCode.USAGE, ("not a text",)),
        ("size = '72b'", ExitCode.USAGE, ("size 72b, not 7b",)),
        ("seed = ", ExitCode.BAD_INPUT, ("not TOML", "a.toml")),
        ("seed = 1\nseed = 2", ExitCode.BAD_INPUT, ("not TOML",)),
        ("x = " + "[" * 5000, ExitCode.BAD_INPUT, ("not TOML",)),
    ],
)
def test_wrong_files_are_refused(tmp_path: Path, line: str, code: ExitCode, fragments: tuple[str, ...]) -> None:
    file = tmp_path / "a.toml"
    file.write_text(line)
    assert refused(code, *fragments, file=file).hint


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    refused(ExitCode.BAD_INPUT, "none.toml", file=tmp_path / "none.toml")
    refused(ExitCode.BAD_INPUT, "can't be read", file=tmp_path)
    (tmp_path / "latin.toml").write_bytes(b"data = '\xe4'")
    refused(ExitCode.BAD_INPUT, "not TOML", file=tmp_path / "latin.toml")


def test_unknown_stages_and_sizes_are_refused() -> None:
    refused(ExitCode.USAGE, "did you mean stage2-ov?", stage="stage2_ov")
    refused(ExitCode.USAGE, "0.5b, 7b, 72b, tiny", size="13b")


def test_older_pythons_read_toml_with_tomli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.toml"
    file.write_text("seed = 7")
    monkeypatch.setitem(sys.modules, "tomllib", None)
    monkeypatch.setitem(sys.modules, "tomli", None)
    refused(ExitCode.MISSING_DEPENDENCY, "pip install tomli", file=file)
    monkeypatch.setitem(sys.modules, "tomli", types.SimpleNamespace(loads=lambda text: {"seed": len(text)}))
    assert resolve("stage1", "7b", file).recipe.seed == 8
