"""The commands of docs/tensorrt.md are understood by the programs that they name, and speak of what is there."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from ovengines.tensorrt.__main__ import arguments
from ovengines.tensorrt.presence import PLUGIN_VARIABLE
from ovexport.cli import parse as parse_ovexport
from ovrun.cli import parse as parse_ovrun

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "tensorrt.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
OWN = ("ovexport ", "ovrun ", "python -m ovengines.tensorrt", "cmake ")
DEVICES = {"Orin": "87", "Thor": "110", "server": "90"}


def commands_of(text: str) -> list[list[str]]:
    """The words of each command, without comments."""
    lines = [shlex.split(line, comments=True) for line in text.splitlines()]
    return [shlex.split(part) for line in lines for part in shlex.join(line).replace("'&&'", "&&").split(" && ")]


def inline_commands() -> list[list[str]]:
    prose = re.sub(r"^```sh\n.*?^```", "", PAGE, flags=re.DOTALL | re.MULTILINE)
    return [shlex.split(code) for code in re.findall(r"`([^`]+)`", prose) if code.startswith(OWN)]


COMMANDS = [*(words for block in BLOCKS for words in commands_of(block)), *inline_commands()]


def named(*first: str) -> list[list[str]]:
    return [words[len(first) :] for words in COMMANDS if tuple(words[: len(first)]) == first]


def test_our_programs_understand_their_commands() -> None:
    builds = [parse_ovexport(words) for words in named("ovexport")]
    answers = [args for words in named("ovrun") for _, args in [parse_ovrun(words)] if "model" in vars(args)]
    engines = [arguments().parse_args(words) for words in named("python", "-m", "ovengines.tensorrt")]
    assert len(builds) == len(answers) == len(engines) == 1
    sent = [Path(words[-2]) for words in named("rsync")]
    assert sent == [builds[0].output] == [engines[0].bundle] == [Path(answers[0].model)]
    assert builds[0].target == "tensorrt" and answers[0].device == "tensorrt"
    assert any(words[:1] == ["doctor"] for words in named("ovrun"))


def test_the_sources_are_where_the_bundle_goes() -> None:
    (clone,) = [words for words in named("git", "clone") if words[0] == "$REPOSITORY"]
    (where,) = [words[-1] for words in named("rsync")]
    assert where == f"device:{clone[-1]}/bundles/"


def test_cmake_finds_its_presets_folders_and_variables() -> None:
    presets = json.loads((ROOT / "kernels" / "CMakePresets.json").read_text())["configurePresets"]
    cmake_lists = (ROOT / "kernels" / "CMakeLists.txt").read_text()
    configured = [words for words in named("cmake") if "--preset" in words]
    assert [arch for words in configured for arch in re.findall(r"ARCHITECTURES=(\d+)", shlex.join(words))] == [
        *DEVICES.values()
    ]
    for words in configured:
        assert words[1] in {preset["name"] for preset in presets} and (ROOT / words[words.index("-S") + 1]).is_dir()
        for name in re.findall(r"-D(\w+)=", shlex.join(words)):
            assert name.startswith("CMAKE_") or name in cmake_lists
    builds = [words for words in named("cmake") if "--build" in words]
    assert builds == [["--build", f"build/kernels/{words[1]}"] for words in configured]


@pytest.mark.parametrize("device", DEVICES)
def test_each_device_gets_all_steps(device: str) -> None:
    section = PAGE.partition(f"## 2. TensorRT and the plugin, on a {'Jetson ' * (device != 'server')}{device}")[2]
    steps = section.partition("```sh\n")[2].partition("```")[0]
    for step in ("cuda-nvcc-", "cmake g++", "export PATH=/usr/local/cuda/bin:$PATH", "pip install .", "cmake --preset"):
        assert step in steps
    assert steps.index("export PATH") < steps.index("cmake --preset") < steps.index(f"export {PLUGIN_VARIABLE}=")


def test_the_files_it_speaks_of_are_there() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", PAGE) if "://" not in link]
    paths = [word for words in named("ovrun") for word in words if word.startswith("examples/")]
    assert links and all((ROOT / "docs" / link).exists() for link in links)
    assert paths and all((ROOT / path).is_file() for path in paths)


def test_variables_are_those_of_the_code() -> None:
    sources = "\n".join(
        file.read_text() for folder in ("engines", "runtime", "tests/kernels") for file in (ROOT / folder).rglob("*.py")
    )
    for variable in set(re.findall(r"\b(OVK?_[A-Z_]+)\b", PAGE)):
        assert f'"{variable}"' in sources, variable
