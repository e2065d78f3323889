"""`ovexport build` that is killed, interrupted or runs out of disk half-way: nothing under the target's name."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_outcome import ERROR, Outcome, names_in

from ovengines.errors import ExitCode

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="signals and resource limits of POSIX")

Command = Callable[..., Outcome]
# Runs a command line that, when it calls the function named first, says so and waits to be ended.
PAUSING = """
import importlib, sys, time
def pause(*_, **__):
    print("paused", flush=True)
    time.sleep(300)
if sys.argv[1]:
    module, name = sys.argv[1].rsplit(".", 1)
    setattr(importlib.import_module(module), name, pause)
from ovexport.cli import main
sys.exit(main(sys.argv[2:]))
"""
FULL_DISK = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
from ovexport.cli import main
sys.exit(main(sys.argv[2:]))
"""
# A function that is called at that moment, and files that are there by then.
MOMENTS = {
    "first weight written": ("ovexport.graphs.write._external", {"vision.onnx.data"}),
    "graphs written": ("ovexport.build.make_reference", {"decoder.onnx", "decoder.onnx.data"}),
    "about to be renamed": ("ovengines.replacement._sync", {"manifest.json", "report.json"}),
}


class Paused:
    """A build in a process of its own that waits at a moment."""

    def __init__(self, moment: str, words: list[str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PAUSING, MOMENTS[moment][0], *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a suite in the background ignores it
        )
        assert self.process.stdout
        line = self.process.stdout.readline()
        if line != "paused\n":
            raise AssertionError(f"never came to the moment {moment}: {line}{self.process.communicate()}")

    def end(self, number: signal.Signals) -> Outcome:
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=60)
        return Outcome(code=self.process.returncode, out=out, err=err)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def test_killed_at_any_moment(ovexport: Command, checkpoint: Path, out: Path) -> None:
    words = ["build", str(checkpoint), "-o", str(out / "b"), "--precision", "fp32"]
    for moment, (_, files) in MOMENTS.items():
        outcome = Paused(moment, words).end(signal.SIGKILL)
        assert outcome.code == -signal.SIGKILL
        assert not (out / "b").exists(), moment
        left = [folder for folder in out.iterdir() if files <= set(names_in(folder))]
        assert len(left) == 1 and left[0].name.startswith(".b."), f"{moment}: {names_in(out)}"
    assert len(names_in(out)) == 1  # each build removed what the one before it had left
    outcome = ovexport(*words)
    assert outcome.code == 0 and names_in(out) == ["b"], outcome
    assert ovexport("verify", out / "b").code == 0


@pytest.mark.parametrize("moment", ["first weight written", "about to be renamed"])
def test_interrupted(moment: str, bundle_copy: Path, checkpoint: Path) -> None:
    """With Ctrl-C, while an older bundle is being replaced: that one stays."""
    before = (bundle_copy / "manifest.json").read_bytes()
    words = ["build", str(checkpoint), "-o", str(bundle_copy), "--precision", "int8", "--force", "--json"]
    outcome = Paused(moment, words).end(signal.SIGINT)
    assert (outcome.code, outcome.out, outcome.err) == (ExitCode.INTERRUPTED, "", "error: interrupted\n")
    assert (bundle_copy / "manifest.json").read_bytes() == before
    assert [name for name in names_in(bundle_copy.parent) if name.startswith(".")] == []


def test_the_disk_gets_full(checkpoint: Path, out: Path) -> None:
    """At the first file that is larger than what is left of the disk."""
    words = ["build", str(checkpoint), "-o", str(out / "b"), "--precision", "fp32", "--json"]
    done = subprocess.run([sys.executable, "-c", FULL_DISK, "100000", *words], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (ExitCode.LIMIT_EXCEEDED, ""), done
    assert ERROR.fullmatch(done.stderr) and "full" in done.stderr and "-o" in done.stderr, done.stderr
    assert names_in(out) == []
