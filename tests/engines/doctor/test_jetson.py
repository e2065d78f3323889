"""What a Jetson's files say, on trees that look like its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from ovengines.doctor import jetson

RELEASE = "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64\n"


@pytest.fixture
def orin(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/nv_tegra_release").write_text(RELEASE)
    (tmp_path / "proc/device-tree").mkdir(parents=True)
    (tmp_path / "proc/device-tree/model").write_bytes(b"NVIDIA Jetson Orin Nano Developer Kit\0")
    return tmp_path


def test_module_and_release(orin: Path) -> None:
    assert jetson.jetson_model(orin) == "NVIDIA Jetson Orin Nano Developer Kit, L4T 36.4.3"


def test_a_release_in_another_form_is_still_a_jetson(orin: Path) -> None:
    (orin / "etc/nv_tegra_release").write_text("something new\n")
    assert jetson.jetson_model(orin) == "NVIDIA Jetson Orin Nano Developer Kit"
    (orin / "proc/device-tree/model").unlink()
    assert jetson.jetson_model(orin) == "Jetson"


def test_another_machine_is_none(tmp_path: Path) -> None:
    assert jetson.jetson_model(tmp_path) is None and jetson.power_mode(tmp_path) is None


@pytest.mark.parametrize(
    ("said", "mode"),
    [
        ("NV Power Mode: 15W\n0\n", "15W (mode 0)"),
        ("NVPM WARN: fan mode is not set!\nNV Power Mode: MAXN_SUPER\n2\n", "MAXN_SUPER (mode 2)"),
        ("NV Power Mode: MAXN\n", "MAXN"),
        ("", "not told (try: sudo nvpmodel -q)"),
    ],
)
def test_power_mode(said: str, mode: str, orin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jetson, "_nvpmodel", lambda: said)
    assert jetson.power_mode(orin) == mode


def test_a_tool_that_is_missing_or_hangs_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jetson, "_NVPMODEL", ("no-such-program",))
    assert jetson._nvpmodel() == ""
    monkeypatch.setattr(jetson, "_NVPMODEL", ("sleep", "30"))
    monkeypatch.setattr(jetson, "_TIMEOUT_S", 0.05)
    assert jetson._nvpmodel() == ""
