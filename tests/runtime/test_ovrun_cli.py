"""The command line on a fake engine: what goes where, and every exit code with one line of error and one of hint."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_engine import FakeEngine
from PIL import Image

from ovengines.errors import ExitCode, OVError
from ovrun.cli import COMMANDS, main
from ovrun.session import Session
from ovrun.terminal import Terminal

Run = Callable[..., tuple[int, str, str]]
ERROR = re.compile(r"error: [^\n]+\n(hint: [^\n]+\n)?")


@pytest.fixture
def run(bundle_path: Path, engines: list[FakeEngine], capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command line on the fake bundle: exit code, stdout, stderr."""

    def run_words(*words: object, bundle: Path | None = bundle_path) -> tuple[int, str, str]:
        chosen = [] if bundle is None else ["-m", str(bundle)]
        code = main([*map(str, words), *chosen])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run_words


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


def _assert_refused(outcome: tuple[int, str, str], code: ExitCode, *fragments: str) -> None:
    assert (outcome[0], outcome[1]) == (code, ""), outcome
    assert ERROR.fullmatch(outcome[2]), outcome[2]
    assert all(fragment in outcome[2] for fragment in fragments), outcome[2]


@pytest.mark.parametrize(
    ("words", "fragment"),
    [
        ([], "no image"),
        (["x.png", "--no-such-flag"], "--no-such-flag"),
        (["x.png", "--top-k", "many"], "--top-k"),
        (["x.png", "--temperature", "-1"], "temperature"),
        (["x.png", "--temp", "1"], "--temp"),
        (["x.png", "--max-new-tokens", "0"], "max_new_tokens"),
        (["x.png", "--threads", "0"], "threads"),
        (["x.png", "--stop", ""], "stop_strings"),
        (["x.png", "--seed", "-4"], "seed"),
        (["x.png", "--max-tile", "4"], "--max-tiles"),
        (["--video", "a.mp4", "--video", "b.mp4"], "twice"),
        (["--video", "a.mp4", "--num-frames", "3", "--fps", "1"], "num_frames"),
        (["a.png", "clip.MP4"], "ovrun --video clip.MP4"),
    ],
)
def test_usage_errors(run: Run, words: list[str], fragment: str) -> None:
    _assert_refused(run(*words), ExitCode.USAGE, fragment, "hint: ")


def test_bad_images(run: Run, tmp_path: Path, picture_file: Path) -> None:
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "cut.png").write_bytes(picture_file.read_bytes()[:2000])
    (tmp_path / "bad\x1b[31mname\n.png").write_text("no image")
    for name in ("empty.png", "text.png", "cut.png", "missing.png", "", "bad\x1b[31mname\n.png"):
        outcome = run(picture_file, tmp_path / name)
        _assert_refused(outcome, ExitCode.BAD_INPUT, "hint: ")
        assert "\x1b" not in outcome[2]
    _assert_refused(run(picture_file, "-p", "<image> and <image>"), ExitCode.BAD_INPUT, "2", "1")
    _assert_refused(run(picture_file, "-p", "<|im_end|>"), ExitCode.BAD_INPUT, "<|im_end|>")
    _assert_refused(run(picture_file, "-p", "\udcff"), ExitCode.BAD_INPUT, "UTF-8")


def test_limits(run: Run, tmp_path: Path, picture_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (1, 50_000)).save(tmp_path / "line.png")
    _assert_refused(run(tmp_path / "line.png"), ExitCode.LIMIT_EXCEEDED, "image_aspect", "OV_MAX_IMAGE_ASPECT")
    Image.new("L", (1, 2304)).save(tmp_path / "thin.png")
    assert run(tmp_path / "thin.png", "--max-new-tokens", 1)[0] == 0
    monkeypatch.setenv("OV_MAX_IMAGE_PIXELS", "100")
    _assert_refused(run(picture_file), ExitCode.LIMIT_EXCEEDED, "100 pixels", "OV_MAX_IMAGE_PIXELS")
    monkeypatch.delenv("OV_MAX_IMAGE_PIXELS")
    _assert_refused(run(picture_file, "-p", "word " * 300), ExitCode.LIMIT_EXCEEDED, "context of 256", "--max-tiles")


def test_damaged_bundles(run: Run, bundle_path: Path, tmp_path: Path, picture_file: Path) -> None:
    def flip_byte(bundle: Path) -> None:
        data = bytearray((bundle / "tokenizer.json").read_bytes())
        data[100] ^= 1
        (bundle / "tokenizer.json").write_bytes(data)

    def edit_manifest(old: str, new: str) -> Callable[[Path], None]:
        def edit(bundle: Path) -> None:
            text = (bundle / "manifest.json").read_text()
            assert old in text
            (bundle / "manifest.json").write_text(text.replace(old, new))

        return edit

    damages = (
        flip_byte,
        lambda bundle: (bundle / "decoder.onnx").unlink(),
        lambda bundle: (bundle / "manifest.json").unlink(),
        lambda bundle: (bundle / "manifest.json").write_text("{"),
        edit_manifest('"layout_version": 1', '"layout_version": 99'),
        edit_manifest('"vision.onnx"', '"../vision.onnx"'),
    )
    for number, damage in enumerate(damages):
        copy = tmp_path / f"bundle{number}"
        shutil.copytree(bundle_path, copy)
        damage(copy)
        _assert_refused(run(picture_file, bundle=copy), ExitCode.BUNDLE_INVALID, "hint: ")
    _assert_refused(run(picture_file, bundle=tmp_path / "none"), ExitCode.BUNDLE_INVALID, "ovexport build")
    _assert_refused(run(picture_file, bundle=None), ExitCode.BUNDLE_INVALID, "ovexport build")


@pytest.mark.parametrize(
    ("device", "code"),
    [("cuda", ExitCode.MISSING_DEPENDENCY), ("tensorrt", ExitCode.MISSING_DEPENDENCY), ("abacus", ExitCode.USAGE)],
)
def test_devices_that_are_not_there(
    run: Run, picture_file: Path, device: str, code: ExitCode, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ovengines import devices, open_engine

    monkeypatch.setattr("ovrun.session.open_engine", open_engine)
    monkeypatch.setattr(devices, "_providers", list)
    _assert_refused(run(picture_file, "--device", device), code, device, "hint: ")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (KeyboardInterrupt(), ExitCode.INTERRUPTED),
        (MemoryError(), ExitCode.OUT_OF_MEMORY),
        (ModuleNotFoundError("No module named 'tokenizers'"), ExitCode.MISSING_DEPENDENCY),
        (RuntimeError("object at 0x7f0011223344 failed\nbadly"), ExitCode.UNEXPECTED),
        (OVError(ExitCode.PARITY_FAILED, "a message", "a hint"), ExitCode.PARITY_FAILED),
    ],
)
@pytest.mark.parametrize("debug", [False, True])
def test_any_error_becomes_a_code_and_two_lines(
    run: Run, picture_file: Path, error: BaseException, code: ExitCode, debug: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(FakeEngine, "encode", fail)
    words = [picture_file, "--debug"] if debug else [picture_file]
    got, out, err = run(*words, "--json")
    assert (got, out) == (code, "")
    assert ("Traceback" in err) is debug
    lines = err[err.rindex("error: ") :] if debug else err
    assert ERROR.fullmatch(lines) and "0x7f" not in lines


def test_interrupted_answer_ends_its_line(
    run: Run, picture_file: Path, engines: list[FakeEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = FakeEngine.decode
    steps: list[int] = []

    def interrupted(self: FakeEngine, *args: object, **kwargs: object) -> np.ndarray:
        steps.append(1)
        if len(steps) > 20:
            raise KeyboardInterrupt
        return original(self, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(FakeEngine, "decode", interrupted)
    code, out, err = run(picture_file)
    assert code == 130 and len(out) > 3 and out.endswith("\n") and err == "error: interrupted\n"


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    flags = (
        "--video --prompt --model --system --num-frames --fps --max-frames --max-tiles --anyres-multi --max-new-tokens"
        " --temperature --top-p --top-k --repetition-penalty --stop --seed --prompt-lookup-num-tokens --device"
        " --threads --stats --json --quiet --verbose --debug --version"
    )
    for told in [*flags.split(), *(f"ovrun {name} " for name in COMMANDS if name)]:
        assert told in text
    assert "--max-tokens" not in text and text.count("\n") < 56  # one screen
    assert main(["--version"]) == 0
    assert re.fullmatch(r"ovrun \d+\.\d+\.\d+\S*\n", capsys.readouterr().out)


@pytest.mark.parametrize("name", [name for name in COMMANDS if name])
def test_help_of_the_other_commands(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: ovrun {name} ") and "exit codes: " in text and "--debug" in text


class _Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def on_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    """stderr counts as a terminal with colours."""
    monkeypatch.setattr(Terminal, "is_terminal", True)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")


@pytest.mark.usefixtures("on_screen")
def test_progress_is_drawn_on_a_terminal_and_removed(
    run: Run, picture_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OV_MAX_TILE_BATCH_BYTES", "1")  # one tile at a time
    code, out, err = run(picture_file, "--max-new-tokens", 3)
    drawn = f"\rlooking at the tiles {100 // 7}%"
    assert code == 0 and drawn in err and err.endswith("\r") and "\n" not in err
    assert run(picture_file, "--max-new-tokens", 3, "-q") == (0, out, "")
    terminal = Terminal()
    terminal.progress("looking", 1, 4)
    terminal.progress("looking", 2, 4)  # too soon to redraw
    terminal.progress("looking", 4, 4)
    assert capsys.readouterr().err == "\rlooking 25%\r" + " " * 11 + "\r"


@pytest.mark.usefixtures("on_screen")
@pytest.mark.parametrize(("variable", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_colour_only_where_it_is_wanted(run: Run, variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b[31merror:\x1b[0m" in run("missing.png")[2]
    monkeypatch.setenv(variable, value)
    assert run("missing.png")[2].startswith("error: missing.png")


def test_a_real_terminal_is_recognised(bundle_path: Path) -> None:
    script = "import sys; from ovrun.cli import main; sys.exit(main(sys.argv[1:]))"
    environment = {**os.environ, "TERM": "xterm", "OV_HOME": str(bundle_path.parent.parent)}
    environment.pop("NO_COLOR", None)
    ours, theirs = pty.openpty()
    words = [sys.executable, "-c", script, "--no-such-flag"]
    done = subprocess.run(words, stderr=theirs, stdout=subprocess.PIPE, env=environment, timeout=60)
    os.close(theirs)
    shown = os.read(ours, 10_000).decode()
    os.close(ours)
    assert (done.returncode, done.stdout) == (2, b"") and shown.startswith("\x1b[31merror:\x1b[0m ")


def _force_answer(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every session answer `text`."""
    original = Session.open

    def open_forced(*args: Any) -> Session:
        session = original(*args)
        ids = session.tokenizer.encode(text)
        session.engine.forced = [*ids, session.model.eos_token_ids[0]]  # type: ignore[attr-defined]
        return session

    monkeypatch.setattr(Session, "open", open_forced)


def test_an_answer_cannot_send_control_characters_to_a_terminal(
    run: Run, picture_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _force_answer("a\x1b[2Jb\tc\n😀\u200d\u3000图", monkeypatch)
    written = []
    for out in (io.StringIO(), _Screen()):
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", out)
            assert run(picture_file)[0] == 0
        written.append(out.getvalue())
    assert written == ["a\x1b[2Jb\tc\n😀\u200d\u3000图\n", "a?[2Jb\tc\n😀\u200d\u3000图\n"]


@pytest.mark.parametrize("json_", [False, True])
def test_a_locale_without_the_characters_is_no_error(
    run: Run, picture_file: Path, json_: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    _force_answer("ok 图", monkeypatch)
    encoded = io.BytesIO()
    stdout = io.TextIOWrapper(encoded, encoding="ascii")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stdout)
        assert run(picture_file, *(["--json"] if json_ else []))[0] == 0
    written = encoded.getvalue()
    assert json.loads(written)["text"] == "ok 图" if json_ else written == b"ok ?\n"


def test_a_reader_that_leaves_is_no_error() -> None:
    script = "import sys; from ovrun.cli import main; print('x' * 100_000); sys.exit(main(['--help']))"
    done = subprocess.run(f'"{sys.executable}" -c "{script}" | true', shell=True, capture_output=True, timeout=60)
    assert done.returncode == 0
    script = "import sys; from ovrun.cli import main; sys.exit(main(['--help']))"
    read, write = os.pipe()
    os.close(read)
    process = subprocess.run([sys.executable, "-c", script], stdout=write, stderr=subprocess.PIPE, timeout=60)
    os.close(write)
    assert (process.returncode, process.stderr) == (0, b"")
