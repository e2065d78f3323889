"""For each device what it stands on, whether that is here, and the command that brings it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ovengines.cuda.library import HINT as CUDA_HINT
from ovengines.doctor.facts import ABSENT, Fact
from ovengines.doctor.libraries import CUDA_LIBRARIES
from ovengines.errors import OVError
from ovengines.tensorrt.presence import PLUGIN_HINT, find_plugin, install_hint

_DRIVER_HINT = "install NVIDIA's driver for this GPU; on a Jetson flash JetPack"
_GPU_HINT = "an NVIDIA GPU that CUDA can use; nothing to install brings one"


@dataclass(frozen=True, kw_only=True)
class Need:
    """One thing that a device stands on. `command` brings it."""

    name: str
    there: bool
    command: str


@dataclass(frozen=True, kw_only=True)
class Target:
    """A device, as --device names it."""

    device: str
    needs: tuple[Need, ...]

    @property
    def ready(self) -> bool:
        return all(need.there for need in self.needs)

    @property
    def missing(self) -> list[Need]:
        return [need for need in self.needs if not need.there]


def targets(facts: list[Fact]) -> list[Target]:
    """Every device, with what it needs, from the facts of the machine."""
    known = {fact.name: fact.value for fact in facts}
    return [
        Target(device="cpu", needs=(_provider(known, "CPU", "pip install 'ovexport[cpu]'"),)),
        Target(device="cuda", needs=(*_gpu(known), *_cuda_provider(known))),
        Target(device="tensorrt", needs=(*_gpu(known), *_tensorrt(known))),
    ]


def _gpu(known: Mapping[str, str]) -> tuple[Need, ...]:
    return (
        Need(name="NVIDIA driver", there=known["NVIDIA driver"] != ABSENT, command=_DRIVER_HINT),
        Need(name="GPU", there=known["GPU"] != ABSENT, command=_GPU_HINT),
        Need(name="CUDA runtime", there=known["CUDA runtime"] != ABSENT, command=CUDA_HINT),
    )


def _provider(known: Mapping[str, str], name: str, command: str) -> Need:
    _, _, providers = known["ONNX Runtime"].partition(": ")
    return Need(name=f"ONNX Runtime with {name}", there=name in providers.split(", "), command=command)


def _gpu_runtime(known: Mapping[str, str]) -> str:
    """Both wheels write to the same folder, so the CPU's has to go first."""
    if known["Jetson"] != ABSENT:
        return "install an onnxruntime-gpu wheel made for this JetPack; the one of PyPI is for other machines"
    remove = "" if known["ONNX Runtime"] == ABSENT else "pip uninstall onnxruntime; "
    return f"{remove}pip install 'ovexport[gpu]'"


def _cuda_provider(known: Mapping[str, str]) -> tuple[Need, ...]:
    found = known["CUDA libraries"].partition(": ")[2].split(", ")
    lacking = [f"lib{name}" for name in CUDA_LIBRARIES if name not in found]
    is_jetson = known["Jetson"] != ABSENT
    command = "sudo apt install nvidia-jetpack" if is_jetson else "pip install 'onnxruntime-gpu[cuda,cudnn]'"
    return (
        _provider(known, "CUDA", _gpu_runtime(known)),
        Need(name=f"CUDA libraries ({', '.join(lacking) or 'all'})", there=not lacking, command=command),
        Need(name="cuDNN 9", there=known["cuDNN"].startswith("9."), command=command),
    )


def _tensorrt(known: Mapping[str, str]) -> tuple[Need, ...]:
    package, libraries = known["TensorRT for Python"], known["TensorRT libraries"]
    return (
        Need(name="TensorRT for Python", there=package != ABSENT, command=install_hint()),
        _tensorrt_libraries(package, libraries),
        Need(name="plugin of ovkernels", there=_plugin(known), command=PLUGIN_HINT),
    )


def _tensorrt_libraries(package: str, libraries: str) -> Need:
    """Of the version of the Python package, which is what our engines call."""
    name, wanted = "TensorRT libraries", package.split(".")[:2]
    is_other = ABSENT not in (package, libraries) and libraries.split(".")[:2] != wanted
    if is_other:
        name = f"{name} {'.'.join(wanted)}, the version of its Python package (there is {libraries})"
    return Need(name=name, there=libraries != ABSENT and not is_other, command=install_hint())


def _plugin(known: Mapping[str, str]) -> bool:
    """Whether there is one for the TensorRT of the Python package, which is what our engines call."""
    versions = (known["TensorRT for Python"], known["TensorRT libraries"])
    tensorrt = next((version for version in versions if version != ABSENT), "10")
    cuda = known["CUDA runtime"] if known["CUDA runtime"] != ABSENT else "13"
    try:
        find_plugin(int(tensorrt.split(".")[0]), int(cuda.split(".")[0]))
    except OVError:
        return False
    return True
