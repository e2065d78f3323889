"""What the README says is so: its tree, make targets, options, exit codes and links."""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ovengines.errors import ExitCode
from ovexport import cli as exporter
from ovrun import cli as runtime

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def code_blocks(language: str) -> list[str]:
    """The fenced blocks of the README that are marked with `language`."""
    fences = re.split(r"^```(.*)\n", README, flags=re.MULTILINE)
    # text, language, block, "", text, language, block, "", ...
    return [block for mark, block in zip(fences[1::4], fences[2::4], strict=True) if mark == language]


def tree_folders() -> set[str]:
    """Folders of the README's tree, as paths."""
    tree = next(block for block in code_blocks("") if block.startswith("ovexport/    "))
    folders: set[str] = set()
    above: list[str] = []
    for line in tree.splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        above = [*above[:depth], line.split()[0].rstrip("/")]
        folders.add("/".join(above))
    return folders


def test_tree_is_the_tree() -> None:
    told = tree_folders()
    for folder in told:
        assert (ROOT / folder).is_dir(), folder
    for package in ("ovexport", "ovexport/train", "runtime/ovrun"):
        real = {f"{package}/{f.name}" for f in (ROOT / package).iterdir() if f.is_dir() and f.name != "__pycache__"}
        assert real == {folder for folder in told if folder.rpartition("/")[0] == package}


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"`?make ([a-z0-9-]+)", README)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_ci_runs_make_test_and_nothing_else() -> None:
    commands = [line for line in (ROOT / ".ci" / "run").read_text().splitlines() if not line.startswith("#")]
    assert commands == ["set -euo pipefail", 'cd "$(dirname "$0")/.."', "exec make test"]


def test_options_are_those_of_the_parsers() -> None:
    usage = next(block for block in code_blocks("") if block.startswith("ovexport build"))
    runtime_help = "".join(runtime.parser_of(name).format_help() for name in runtime.COMMANDS)
    exporter_help = "".join(command.format_help() for command in commands_of(exporter.parser()))
    part, sections = "", {"ovexport": "", "ovrun": ""}
    for line in usage.splitlines():
        part = line.split()[0] if not line.startswith(" ") else part
        sections[part] += line + "\n"
    for section, text in (("ovexport", exporter_help), ("ovrun", runtime_help)):
        options = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", sections[section]))
        assert len(options) > 5
        for option in options:
            assert re.search(rf"(?<![\w-]){option}(?![\w-])", text), f"{section} {option}"


def commands_of(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The parsers of its commands, and of theirs."""
    groups = parser._subparsers._group_actions if parser._subparsers else []
    for command in (each for group in groups for each in group.choices.values()):
        yield command
        yield from commands_of(command)


def test_every_command_is_named() -> None:
    usage = next(block for block in code_blocks("") if block.startswith("ovexport build"))
    named = {" ".join(line.split()[:3]) for line in usage.splitlines() if line.startswith("ovexport")}
    for command in commands_of(exporter.parser()):
        assert any(f"{name} ".startswith(f"{command.prog} ") for name in named), command.prog
    runtimes = {line.split()[1] for line in usage.splitlines() if line.startswith("ovrun")}
    assert runtimes == {name or "IMAGE..." for name in runtime.COMMANDS}


def test_exit_codes() -> None:
    table = README.split("| exit code", 1)[1].split("\n## ")[0]
    told = {int(code) for code in re.findall(r"\| (\d+) \|", table)}
    assert told == {int(code) for code in ExitCode}


@pytest.mark.parametrize(
    "document", ["README.md", *sorted(p.relative_to(ROOT).as_posix() for p in ROOT.glob("docs/**/*.md"))]
)
def test_links_lead_somewhere(document: str) -> None:
    text = re.sub(r"`[^`\n]*`", "", (ROOT / document).read_text())  # code: a lambda of C++ looks like a link
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
        assert ((ROOT / document).parent / target).exists(), target


def test_no_placeholder_is_left() -> None:
    assert not re.findall(r"\b[A-Z]+_(?:TABLE|MACHINE|N)\b", README)


def test_python_example_runs(tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = code_blocks("python")
    picture = ROOT / "examples" / "shapes.png"
    exec(example.replace('"bundle"', repr(str(tiny_bundle))).replace('"image.jpg"', repr(str(picture))), {})
    assert capsys.readouterr().out.strip()


def test_shell_examples_name_real_options(build_tiny: object, tmp_path: Path) -> None:
    for block in code_blocks("sh"):
        for line in block.splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["ovrun"]:
                runtime.parse(words[1:])
            elif words[:1] == ["ovexport"]:
                exporter.parser().parse_args(words[1:])


def test_nothing_in_the_repository_is_about_one_machine() -> None:
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    for name in listed.stdout.splitlines():
        file = ROOT / name
        checked = file.suffix in (".py", ".md", ".toml", ".txt", ".sh", ".html", ".yaml") and file.is_file()
        if checked and file != Path(__file__):
            text = file.read_text(errors="replace")
            assert not re.search(r"/(work|root|home)/[a-z]", text), name
