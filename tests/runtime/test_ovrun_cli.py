"""The command line on a fake engine: what is asked reaches the session, and what comes of it goes where it should."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from fake_engine import FakeEngine
from PIL import Image
from runners import Run

from ovengines.errors import ExitCode
from ovrun.cli import COMMANDS, main
from ovrun.session import Session


def test_stdout_is_the_answer_and_nothing_else(run: Run, bundle_path: Path, picture_file: Path) -> None:
    expected = Session.open(bundle_path).generate(
        prompt="Describe this image.", images=[picture_file], max_new_tokens=15
    )
    code, out, err = run(picture_file, "--max-new-tokens", 15)
    assert (code, out, err) == (0, expected.text.removesuffix("\n") + "\n", "")


def test_json_is_one_object(run: Run, picture_file: Path) -> None:
    code, out, err = run(picture_file, "--json", "--max-tokens", 5, "-p", "what is this?")
    result = json.loads(out)
    assert code == 0 and err == "" and out.count("\n") == 1
    assert result["completion_tokens"] == len(result["token_ids"]) == 5 and result["tiles"] == 7


def test_an_empty_question_is_not_the_default_one(run: Run, picture_file: Path) -> None:
    short = ["--max-new-tokens", 8]
    default = run(picture_file, *short)[1]
    assert (
        default == run(picture_file, *short, "-p", "Describe this image.")[1] != run(picture_file, *short, "-p", "")[1]
    )


def test_options_reach_the_session(run: Run, picture_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, object] = {}
    original = Session.generate

    def spy(self: Session, **kwargs: object) -> object:
        asked.update(kwargs)
        return original(self, **kwargs)  # type: ignore[call-overload]

    monkeypatch.setattr(Session, "generate", spy)
    sampling = ["--temperature", 0.5, "--top-p", 0.9, "--top-k", 7, "--repetition-penalty", 1.1, "--seed", 3]
    rest = ["--max-new-tokens", 4, "--max-tiles", 2, "--stop", "a", "--stop", "b"]
    assert run(picture_file, "-p", "hi", "--system", "", *sampling, *rest)[0] == 0
    del asked["on_progress"]
    assert asked.pop("stream") is True
    assert asked == {
        "prompt": "hi",
        "images": [str(picture_file)],
        "video": None,
        "system": "",
        "max_tiles": 2,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 7,
        "repetition_penalty": 1.1,
        "seed": 3,
        "max_new_tokens": 4,
        "stop_strings": ["a", "b"],
    }


def _frames(folder: Path, count: int) -> Path:
    """A video as a folder of frames, none like another."""
    folder.mkdir()
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
    return folder


def test_several_images_and_a_video_in_one_question(
    run: Run, bundle_path: Path, picture_file: Path, tmp_path: Path
) -> None:
    clip, asked = _frames(tmp_path / "clip", 4), ["--max-new-tokens", 9, "--json", "-p"]
    oracle = Session.open(bundle_path)
    images = [str(picture_file), str(picture_file)]
    for words, question in (
        ([*images, *asked, "which?"], {"prompt": "which?", "images": images}),
        ([*asked, "<image>, <image>?", *images], {"prompt": "<image>, <image>?", "images": images}),
        ([*images, "--anyres-multi", *asked, "a"], {"prompt": "a", "images": images, "anyres_multi": True}),
        (["--video", clip, *asked, "what?"], {"prompt": "what?", "video": clip}),
        (["--video", clip, "--num-frames", 2, *asked, "a"], {"prompt": "a", "video": clip, "num_frames": 2}),
        (["--video", clip, "--max-frames", 3, *asked, "a"], {"prompt": "a", "video": clip, "max_frames": 3}),
        ([images[0], "--video", clip, *asked, "<video> <image>"], {"video": clip, "images": images[:1]}),
    ):
        expected = oracle.generate(**{"prompt": "<video> <image>", "max_new_tokens": 9, **question})
        code, out, _ = run(*words)
        told = json.loads(out)
        assert code == 0, words
        assert (told["token_ids"], told["tiles"]) == (list(expected.token_ids), expected.tiles), words


def test_a_file_may_look_like_an_option(
    run: Run, bundle_path: Path, picture_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    picture_file.rename("-odd.png")
    code, out, _ = run("--max-new-tokens", 4, "--json", "-m", bundle_path, "--", "-odd.png", bundle=None)
    assert code == 0 and json.loads(out)["tiles"] == 7


def test_a_video_alone_has_a_question_of_its_own(run: Run, picture_file: Path, tmp_path: Path) -> None:
    words = ["--video", _frames(tmp_path / "clip", 2), "--max-new-tokens", 8]
    assert run(*words) == run(*words, "-p", "Describe this video.")
    assert run(picture_file, *words)[1] == run(picture_file, *words, "-p", "Describe this image.")[1]


def test_frames_without_a_video_are_warned_of(run: Run, picture_file: Path) -> None:
    code, _, err = run(picture_file, "--max-new-tokens", 2, "--fps", 1, "--max-frames", 4)
    assert code == 0 and err == "warning: fps, max_frames without effect: there is no video\n"


def test_what_was_seen_is_remembered_for_the_next_run(
    run: Run, engines: list[FakeEngine], picture_file: Path, tmp_path: Path
) -> None:
    words = [picture_file, "--max-new-tokens", 8, "--feature-cache", tmp_path / "seen"]
    assert run(*words) == run(*words)
    first, again = engines[-2:]
    assert first.batches and not again.batches and len(list((tmp_path / "seen").glob("*.npy"))) == 1
    code, _, err = run(picture_file, "--feature-cache", picture_file)
    assert code == ExitCode.USAGE and "not a folder" in err


def test_stats_and_warnings_go_to_stderr(run: Run, picture_file: Path) -> None:
    code, plain, _ = run(picture_file, "--max-new-tokens", 6)
    code, out, err = run(picture_file, "--max-new-tokens", 6, "--stats", "--top-k", 3)
    assert code == 0 and out == plain
    assert "warning: top_k without effect" in err and "first token" in err and "fake-cpu" in err
    assert "6 answer" in err and "reused" not in err and "\x1b" not in err and "\r" not in err
    assert run(picture_file, "--max-new-tokens", 6, "--top-k", 3, "-q")[2] == ""


def test_verbose_says_where_it_runs(run: Run, picture_file: Path) -> None:
    assert "fake-cpu" in run(picture_file, "--max-new-tokens", 2, "-v")[2]
    assert run(picture_file, "--max-new-tokens", 2)[2] == ""


def test_image_from_stdin(run: Run, picture_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = run(picture_file, "--max-new-tokens", 5)[1]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(picture_file.read_bytes())))
    assert run("-", "--max-new-tokens", 5)[:2] == (0, expected)


def test_bare_command_takes_the_newest_bundle(
    run: Run, bundle_path: Path, picture_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OV_HOME", str(bundle_path.parent.parent))
    code, out, _ = run(picture_file, bundle=None)
    assert code == 0 and len(out) > 10


def test_question_without_an_image(run: Run) -> None:
    code, out, _ = run("-p", "hello", "--max-new-tokens", 3, "--json")
    assert code == 0 and json.loads(out)["image_tokens"] == 0


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    flags = (
        "--video --prompt --model --system --num-frames --fps --max-frames --max-tiles --anyres-multi --max-new-tokens"
        " --temperature --top-p --top-k --repetition-penalty --stop --seed --prompt-lookup-num-tokens --device"
        " --threads --stats --json --quiet --verbose --debug --version --cmake-dir --includes --libs"
    )
    for told in [*flags.split(), *(f"ovrun {name} " for name in COMMANDS if name)]:
        assert told in text
    assert "--max-tokens" not in text and text.count("\n") < 60  # one screen
    assert main(["--version"]) == 0
    assert re.fullmatch(r"ovrun \d+\.\d+\.\d+\S*\n", capsys.readouterr().out)


@pytest.mark.parametrize("name", [name for name in COMMANDS if name])
def test_help_of_the_other_commands(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: ovrun {name} ") and "exit codes: " in text and "--debug" in text
