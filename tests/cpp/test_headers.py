"""What ovrun.h says in numbers is what Python says."""

from __future__ import annotations

import re

from cpp_builds import ROOT

from ovengines.errors import ExitCode
from ovrun import embedding

HEADER = (ROOT / "runtime" / "cpp" / "include" / "ovrun.h").read_text()


def test_statuses_are_the_exit_codes_of_the_command_line() -> None:
    (body,) = re.findall(r"typedef int32_t ov_status;\nenum \{(.*?)\};", HEADER, re.DOTALL)
    statuses = {name: int(number) for name, number in re.findall(r"OV_(\w+) = (\d+)", body)}
    assert statuses.pop("BUSY") not in list(ExitCode)
    assert statuses == {code.name: code.value for code in ExitCode}


def test_the_package_and_the_bridge_are_of_one_version() -> None:
    bridge = (ROOT / "runtime" / "cpp" / "src" / "bridge.h").read_text()
    assert f"#define OVRUN_BRIDGE_VERSION {embedding.BRIDGE_VERSION}\n" in bridge
