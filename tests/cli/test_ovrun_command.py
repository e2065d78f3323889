"""`ovrun` on the bundle of a random model: what is printed where, and that options do what they say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_outcome import Outcome

from ovexport.cli import main as ovexport_main
from ovrun.prompt.tokenizer import Tokenizer

Command = Callable[..., Outcome]
NEW_TOKENS = 24
FIELDS = {"text", "finish_reason", "token_ids", "prompt_tokens", "reused_tokens", "image_tokens"}
FIELDS |= {"completion_tokens", "tiles", "timings_ms", "memory_mb", "model", "versions", "warnings"}
TIMINGS = {"load", "decode_image", "tile", "encode", "project", "prefill", "first_token", "per_token"}


@pytest.fixture
def ask(ovrun: Command, bundle: Path) -> Callable[..., dict[str, Any]]:
    """The JSON object of a question; its answers are short."""

    def ask_words(*words: object) -> dict[str, Any]:
        outcome = ovrun(*words, "-m", bundle, "--max-new-tokens", NEW_TOKENS, "--json")
        assert outcome.code == 0 and outcome.err == "" and outcome.out.count("\n") == 1, outcome
        content: dict[str, Any] = json.loads(outcome.out)
        return content

    return ask_words


def test_json_has_the_documented_fields(ask: Callable[..., dict[str, Any]], picture: Path, bundle: Path) -> None:
    result = ask(picture)
    assert set(result) == FIELDS
    assert set(result["timings_ms"]) == TIMINGS and all(spent >= 0 for spent in result["timings_ms"].values())
    assert set(result["model"]) == {"id", "sha256", "precision", "engine"}
    assert result["model"]["id"] == "random-model" and result["model"]["precision"] == "fp32"
    assert 0 < result["completion_tokens"] == len(result["token_ids"]) <= NEW_TOKENS
    assert 0 < result["image_tokens"] < result["prompt_tokens"] and result["tiles"] > 1
    assert result["memory_mb"] > 0 and result["warnings"] == [] and "python" in result["versions"]
    ended = result["token_ids"][-1] == 302
    assert result["finish_reason"] == ("stop" if ended else "length")
    text_ids = result["token_ids"][:-1] if ended else result["token_ids"]
    assert result["text"] == Tokenizer(bundle / "tokenizer.json").decode(text_ids)


def test_streaming_gives_the_text_of_json(
    ask: Callable[..., dict[str, Any]], ovrun: Command, bundle: Path, picture: Path
) -> None:
    texts = set()
    for prompt in ("ab", "what is this?", "é ñ 12"):
        text = ask(picture, "-p", prompt)["text"]
        outcome = ovrun(picture, "-p", prompt, "-m", bundle, "--max-new-tokens", NEW_TOKENS)
        assert (outcome.code, outcome.err) == (0, "") and outcome.out == text.removesuffix("\n") + "\n"
        texts.add(text)
    assert len(texts) > 1  # the prompt reaches the model


def test_greedy_is_the_default_and_repeatable(ask: Callable[..., dict[str, Any]], picture: Path) -> None:
    first = ask(picture)["token_ids"]
    assert first == ask(picture)["token_ids"] == ask(picture, "--threads", 1)["token_ids"]
    warm = ["--temperature", 2.5, "--seed"]
    assert ask(picture, *warm, 1)["token_ids"] == ask(picture, *warm, 1)["token_ids"]
    assert len({tuple(ask(picture, *warm, seed)["token_ids"]) for seed in range(3)}) > 1
    assert ask(picture, *warm, 1, "--top-k", 1)["token_ids"] == first
    assert ask(picture, "--repetition-penalty", 50)["token_ids"] != first


def test_default_prompt_and_system_turn(ask: Callable[..., dict[str, Any]], picture: Path, bundle: Path) -> None:
    default = ask(picture)
    spelled = ask(picture, "-p", "Describe this image.", "--system", "You are a helpful assistant.")
    assert (default["token_ids"], default["prompt_tokens"]) == (spelled["token_ids"], spelled["prompt_tokens"])
    without = ask(picture, "--system", "")
    turn = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    turn_tokens = len(Tokenizer(bundle / "tokenizer.json").encode(turn))
    assert default["prompt_tokens"] - without["prompt_tokens"] == turn_tokens > 10


def test_stop_strings(ask: Callable[..., dict[str, Any]], ovrun: Command, bundle: Path, picture: Path) -> None:
    text = ask(picture)["text"]
    stop = next(text[i : i + 2] for i in range(3, len(text) - 1) if text[i : i + 2].isalnum())
    expected = text[: text.index(stop)]
    result = ask(picture, "--stop", "never said", "--stop", stop)
    assert (result["text"], result["finish_reason"]) == (expected, "stop_string")
    outcome = ovrun(picture, "-m", bundle, "--max-new-tokens", NEW_TOKENS, "--stop", stop)
    assert outcome.code == 0 and outcome.out == expected.removesuffix("\n") + "\n"


def test_several_images_and_none(ask: Callable[..., dict[str, Any]], picture: Path) -> None:
    two = ask(picture, picture, "-p", "<image> and <image>: which?")
    assert two["tiles"] == 2 and two["image_tokens"] % 2 == 0
    assert ask("-p", "hello")["image_tokens"] == 0


def test_fewer_tiles(ovrun: Command, bundle: Path, picture: Path) -> None:
    outcome = ovrun(picture, "-m", bundle, "--max-tiles", 1, "--json", "--max-new-tokens", 1)
    result = json.loads(outcome.out)
    assert outcome.code == 0 and result["tiles"] == 2 and "max_tiles is 1" in result["warnings"][0]
    assert outcome.err == f"warning: {result['warnings'][0]}\n"


def test_stats_go_to_stderr(ovrun: Command, bundle: Path, picture: Path) -> None:
    plain = ovrun(picture, "-m", bundle, "--max-new-tokens", 3)
    outcome = ovrun(picture, "-m", bundle, "--max-new-tokens", 3, "--stats")
    assert outcome.code == 0 and outcome.out == plain.out
    assert "prefill" in outcome.err and "random-model" in outcome.err and "\r" not in outcome.err


def test_bare_ovrun_takes_the_newest_bundle(
    ovrun: Command, checkpoint: Path, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OV_HOME", str(tmp_path / "home"))
    for precision in ("fp32", "int8"):
        assert ovexport_main(["build", str(checkpoint), "--precision", precision, "--verify", "off", "-q"]) == 0
        time.sleep(0.02)  # the clock of some file systems is coarse
    assert json.loads(ovrun(picture, "--json", "--max-new-tokens", 1).out)["model"]["precision"] == "int8"
    now = time.time_ns() + 10**9
    os.utime(tmp_path / "home" / "bundles" / "random-model-fp32" / "manifest.json", ns=(now, now))
    assert json.loads(ovrun(picture, "--json", "--max-new-tokens", 1).out)["model"]["precision"] == "fp32"
    bare = ovrun(picture)
    assert bare.code == 0 and bare.err == "" and bare.out.endswith("\n")


def test_picture_from_stdin_is_the_same(
    ask: Callable[..., dict[str, Any]], picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = ask(picture)["token_ids"]
    with picture.open("rb") as stream:
        monkeypatch.setattr("sys.stdin", type("Stdin", (), {"buffer": stream}))
        assert ask("-")["token_ids"] == expected


def test_version_and_help(ovrun: Command) -> None:
    assert ovrun("--version").out.startswith("ovrun ")
    assert ovrun("--help").out.startswith("usage: ovrun")


@pytest.mark.parametrize("name", ["ovrun", "ovexport"])
def test_interrupted_while_importing(name: str) -> None:
    """The entry point is asked, with an import that Ctrl-C falls into."""
    code = (
        f"import sys, {name}.__main__ as entry\n"
        "class Interrupt:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == '{name}.cli': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupt())\n"
        "sys.exit(entry.main())\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (run.returncode, run.stdout, run.stderr) == (130, "", "error: interrupted\n")
