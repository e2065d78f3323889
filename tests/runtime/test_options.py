"""Generation options: names and defaults beside transformers' GenerationConfig, and what is refused."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from ovengines.errors import ExitCode, OVError
from ovrun.options import GenerationOptions, make_options

BAD = [
    ("max_new_tokens", 0),
    ("max_new_tokens", 1.5),
    ("max_new_tokens", True),
    ("temperature", -0.1),
    ("temperature", 1e-9),
    ("temperature", float("nan")),
    ("temperature", float("inf")),
    ("temperature", "hot"),
    ("top_p", 0),
    ("top_p", 1.1),
    ("top_k", -1),
    ("top_k", 2.0),
    ("repetition_penalty", 0),
    ("repetition_penalty", -1),
    ("seed", -1),
    ("seed", 1.5),
    ("stop_strings", ("",)),
    ("stop_strings", (1,)),
    ("prefill_chunk_tokens", 0),
]


@pytest.mark.parametrize(("name", "value"), BAD)
def test_senseless_values_are_usage_errors_that_name_the_option(name: str, value: Any) -> None:
    with pytest.raises(OVError) as caught:
        make_options({name: value})
    assert caught.value.code is ExitCode.USAGE
    assert name in caught.value.message and caught.value.hint


def test_too_many_or_too_long_stop_strings() -> None:
    for stops in (["x"] * 17, ["x" * 1001]):
        with pytest.raises(OVError) as caught:
            GenerationOptions(stop_strings=tuple(stops))
        assert caught.value.code is ExitCode.LIMIT_EXCEEDED


def test_unknown_option_lists_the_known() -> None:
    with pytest.raises(OVError) as caught:
        make_options({"max_tokens": 3})
    assert "max_tokens" in caught.value.message and "max_new_tokens" in caught.value.hint


def test_names_are_those_of_transformers() -> None:
    from transformers import GenerationConfig

    config = GenerationConfig()
    own = {field.name for field in dataclasses.fields(GenerationOptions)}
    assert {name for name in own if not hasattr(config, name)} == {"seed", "prefill_chunk_tokens"}


def test_accepts_numpy_numbers_and_a_single_stop_string() -> None:
    options = make_options({"max_new_tokens": np.int64(3), "temperature": np.float32(0.5), "stop_strings": "end"})
    assert options.stop_strings == ("end",) and options.do_sample


def test_greedy_reports_options_without_effect() -> None:
    assert "top_p, seed" in GenerationOptions(top_p=0.5, seed=0).idle()[0]
    assert GenerationOptions().idle() == GenerationOptions(temperature=1, top_p=0.5, seed=0).idle() == []
