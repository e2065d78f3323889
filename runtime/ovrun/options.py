"""How to decode: the options of a generation under the names of transformers' GenerationConfig."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from ovengines.errors import ExitCode, OVError
from ovrun.limits import check_limit


@dataclass(frozen=True, kw_only=True)
class GenerationOptions:
    """Greedy unless `temperature` is above zero (what transformers calls do_sample).

    Raises:
        OVError: USAGE, naming the option, for a value that makes no sense.
    """

    max_new_tokens: int = 512
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0  # 0 is off; transformers' default is 50
    repetition_penalty: float = 1.0
    stop_strings: tuple[str, ...] = ()  # not part of the answer, as in the OpenAI API; transformers keeps them
    seed: int | None = None
    prompt_lookup_num_tokens: int = 0  # drafts from the text so far, checked in one step; never changes the answer
    prefill_chunk_tokens: int = 512  # bounds the activations of a long prompt

    def __post_init__(self) -> None:
        stops = (self.stop_strings,) if isinstance(self.stop_strings, str) else tuple(self.stop_strings)
        object.__setattr__(self, "stop_strings", stops)
        for rule in _RULES:
            value = getattr(self, rule.name)
            if not _is_number(value, whole=rule.whole) or not rule.holds(value):
                raise _usage(rule.name, value, rule.wanted)
        if self.seed is not None and (not _is_number(self.seed, whole=True) or self.seed < 0):
            raise _usage("seed", self.seed, "a whole number of at least 0")
        if not all(isinstance(stop, str) and stop for stop in stops):
            raise _usage("stop_strings", stops, "strings that are not empty")
        check_limit("stop_strings", len(stops), "there are")
        check_limit("stop_chars", max(map(len, stops), default=0), "a stop string has")

    @property
    def do_sample(self) -> bool:
        return self.temperature > 0

    def idle(self) -> list[str]:
        """Warnings about options that were set and change nothing."""
        if self.do_sample:
            return []
        unused = [name for name in ("top_p", "top_k", "seed") if getattr(self, name) != _DEFAULTS[name]]
        return [f"{', '.join(unused)} without effect: the temperature is 0, so decoding is greedy"] if unused else []


@dataclass(frozen=True, kw_only=True)
class _Rule:
    name: str
    whole: bool
    holds: Callable[[float], bool]
    wanted: str


_RULES = (
    _Rule(name="max_new_tokens", whole=True, holds=lambda n: n >= 1, wanted="a whole number of at least 1"),
    # Logits divided by less could overflow float32.
    _Rule(name="temperature", whole=False, holds=lambda t: t == 0 or t >= 1e-4, wanted="0 (greedy) or at least 0.0001"),
    _Rule(name="top_p", whole=False, holds=lambda p: 0 < p <= 1, wanted="above 0 and at most 1"),
    _Rule(name="top_k", whole=True, holds=lambda k: k >= 0, wanted="a whole number of at least 0 (0 is off)"),
    _Rule(name="repetition_penalty", whole=False, holds=lambda r: r > 0, wanted="a number above 0 (1 is off)"),
    _Rule(
        name="prompt_lookup_num_tokens",
        whole=True,
        holds=lambda n: n >= 0,
        wanted="a whole number of at least 0 (0 is off)",
    ),
    _Rule(name="prefill_chunk_tokens", whole=True, holds=lambda n: n >= 1, wanted="a whole number of at least 1"),
)
_DEFAULTS = {field.name: field.default for field in dataclasses.fields(GenerationOptions)}


def make_options(values: dict[str, Any]) -> GenerationOptions:
    """Options from keywords. Raises OVError (USAGE) for a name that does not exist, listing those that do."""
    if unknown := sorted(values.keys() - _DEFAULTS.keys()):
        raise OVError(ExitCode.USAGE, f"unknown option {', '.join(unknown)}", f"there are: {', '.join(_DEFAULTS)}")
    return GenerationOptions(**values)


def _is_number(value: object, *, whole: bool) -> bool:
    if isinstance(value, bool) or not isinstance(value, Integral if whole else Real):
        return False
    return math.isfinite(value)


def _usage(name: str, value: object, wanted: str) -> OVError:
    return OVError(ExitCode.USAGE, f"{name} is {value!r}", f"it should be {wanted}")
