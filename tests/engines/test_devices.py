"""Which device is taken: the one that was asked for or an error, and by itself the best that is there and suits."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from ovengines import devices, open_bundle
from ovengines.devices import DEVICES, Opening, open_engine
from ovengines.errors import ExitCode, OVError


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Make these devices be there, and the others not; gives the list of what is opened."""

    def make(*there: str) -> list[str]:
        names: list[str] = []
        for name, row in DEVICES.items():
            missing = None if name in there else f"no {name} here"
            monkeypatch.setitem(
                devices.DEVICES,
                name,
                dataclasses.replace(
                    row,
                    missing=lambda missing=missing: missing,
                    open=lambda opening, name=name: names.append(name),  # type: ignore[misc]
                ),
            )
        return names

    return make


@pytest.mark.parametrize(
    ("precision", "there", "taken"),
    [
        ("int8", ("cpu",), "cpu"),
        ("int8", ("cpu", "cuda", "tensorrt"), "cpu"),  # ONNX Runtime's attention on CUDA takes float16
        ("fp16", ("cpu", "cuda", "tensorrt"), "cuda"),
        ("bf16", ("cpu", "cuda", "tensorrt"), "cuda"),
        ("fp16", ("cpu", "tensorrt"), "cpu"),  # whose engines would take minutes to build
    ],
)
def test_auto_takes_the_best_that_suits(
    precision: str,
    there: tuple[str, ...],
    taken: str,
    opened: Callable[..., list[str]],
    build_tiny: Callable[[str], Path],
) -> None:
    names = opened(*there)
    open_engine(open_bundle(build_tiny(precision)))
    assert names == [taken]


def test_a_bundle_for_tensorrt_alone_wants_tensorrt(
    opened: Callable[..., list[str]], build_tiny: Callable[[str], Path]
) -> None:
    bundle = open_bundle(build_tiny("fp16"))
    graphs = tuple(dataclasses.replace(graph, target="trt") for graph in bundle.manifest.graphs)
    alone = dataclasses.replace(bundle, manifest=dataclasses.replace(bundle.manifest, graphs=graphs))
    names = opened("cpu", "cuda", "tensorrt")
    open_engine(alone)
    assert names == ["tensorrt"]
    opened("cpu", "cuda")
    with pytest.raises(OVError, match="tensorrt is not available") as caught:
        open_engine(alone)
    assert caught.value.code is ExitCode.MISSING_DEPENDENCY and caught.value.hint


@pytest.mark.parametrize("device", list(DEVICES))
def test_one_that_is_asked_for_is_never_exchanged(
    device: str, opened: Callable[..., list[str]], build_tiny: Callable[[str], Path]
) -> None:
    bundle = open_bundle(build_tiny("int8"))
    names = opened(*DEVICES)
    open_engine(bundle, device)
    assert names == [device]
    opened(*(name for name in DEVICES if name != device))
    with pytest.raises(OVError, match=f"no {device} here") as caught:
        open_engine(bundle, device)
    assert caught.value.code is ExitCode.MISSING_DEPENDENCY and caught.value.hint


def test_what_builds_engines_is_told_whom_to_tell(
    monkeypatch: pytest.MonkeyPatch, build_tiny: Callable[[str], Path]
) -> None:
    openings: list[Opening] = []
    row = dataclasses.replace(DEVICES["cpu"], open=openings.append)  # type: ignore[arg-type]
    monkeypatch.setitem(devices.DEVICES, "cpu", row)

    def progress(what: str, done: int, total: int) -> None: ...

    open_engine(open_bundle(build_tiny("int8")), "cpu", 1, decoder="decoder", progress=progress)
    assert (openings[0].threads, openings[0].decoder, openings[0].progress) == (1, "decoder", progress)
