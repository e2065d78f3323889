"""Builds the native libraries into the wheel, if there is a compiler; NumPy stands in for one, the other is left out.

`ovkernels/libovk` (kernels/) and `ovrun/cpp/lib/libovrun` (runtime/cpp) know no Python; `ovrun_bridge` beside the
latter is compiled for one version of it, which the wheel is then for. An editable install has them in the checkout.
"""

from __future__ import annotations

import shutil
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.modified import newer_group

KERNELS, RUNTIME, BRIDGE = "ovkernels.libovk", "ovrun.cpp.lib.libovrun", "ovrun.cpp.lib.ovrun_bridge"
CPP = Path("runtime/cpp")
CPP_FILES = ("include", "cmake", "pkgconfig")  # what a C++ build looks for beside lib
COMPILE = ["-std=c++17", "-fvisibility=hidden", "-g0"]
LINK = ["-pthread", *(["-Wl,-z,nodelete"] if sys.platform == "linux" else [])]


def native(name: str, *folders: str, headers: str, compile_with: list[str], **more: object) -> Extension:
    """A library of all sources in these folders."""
    sources = sorted(file.as_posix() for folder in folders for file in Path(folder).glob("*.cpp"))
    depends = [*sorted(file.as_posix() for file in Path(headers).rglob("*.h")), "setup.py"]
    return Extension(
        name,
        sources,
        depends=depends,
        extra_compile_args=[*COMPILE, *compile_with],
        extra_link_args=LINK,
        language="c++",
        optional=True,
        **more,
    )


def extensions() -> list[Extension]:
    # As in kernels/CMakeLists.txt: same bits as NumPy, and loops that become vectors.
    kernels = native(
        KERNELS,
        "kernels/csrc",
        "kernels/csrc/cpu",
        headers="kernels",
        compile_with=["-O3", "-ffp-contract=off", "-fno-trapping-math", "-Wno-psabi"],
    )
    if sys.platform == "win32":
        return [kernels]
    include, sources = str(CPP / "include"), f"{CPP}/src"
    version = (CPP / "VERSION").read_text().strip()
    runtime = native(
        RUNTIME,
        sources,
        headers=str(CPP),
        compile_with=["-O2"],
        include_dirs=[include],
        define_macros=[("OVRUN_VERSION", f'"{version}"')],
        libraries=["dl"] if sys.platform == "linux" else [],
    )
    try:
        import pybind11
    except ImportError:  # setup.py without pip, which brings it
        return [kernels]
    bridge = native(
        BRIDGE,
        f"{sources}/bridge",
        headers=str(CPP),
        compile_with=["-O2"],
        include_dirs=[include, pybind11.get_include()],
        define_macros=[("PYBIND11_SIMPLE_GIL_MANAGEMENT", None)],
    )
    return [kernels, runtime, bridge]


class BuildLibraries(build_ext):
    """Libraries by their own names, without an init function."""

    def get_ext_filename(self, fullname: str) -> str:
        suffix = ".dylib" if sys.platform == "darwin" else ".so"
        if fullname.endswith("ovrun_bridge"):
            suffix = f".{sysconfig.get_config_var('SOABI')}{suffix}"
        return fullname.replace(".", "/") + suffix

    def build_extension(self, ext: Extension) -> None:
        beside_the_sources = self.in_place(ext.name)
        if not self.editable_mode or newer_group([*ext.sources, *ext.depends], str(beside_the_sources)):
            beside_the_sources.parent.mkdir(exist_ok=True)
            super().build_extension(ext)

    def in_place(self, name: str) -> Path:
        folder = self.get_finalized_command("build_py").get_package_dir(name.rpartition(".")[0])
        return Path(folder, Path(self.get_ext_filename(name)).name)

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            if self.in_place(RUNTIME).exists():  # it lies in no environment from which it could tell its Python
                (CPP / "lib" / "python_home.txt").write_text(sys.prefix)
        elif Path(self.get_ext_fullpath(RUNTIME)).exists():
            for folder in CPP_FILES:
                shutil.copytree(CPP / folder, Path(self.build_lib, "ovrun", "cpp", folder), dirs_exist_ok=True)

    def get_outputs(self) -> list[str]:
        copied = [] if self.editable_mode else Path(self.build_lib, "ovrun", "cpp").rglob("*.*")
        return [*super().get_outputs(), *(str(file) for file in copied)]

    def get_export_symbols(self, ext: Extension) -> list[str]:
        return []


class PlatformWheel(bdist_wheel):
    """Tagged for the Python that the bridge is for, if it is in it; for the platform, or for any, without."""

    def get_tag(self) -> tuple[str, str, str]:
        built = self.get_finalized_command("build_ext")
        native = [name for name in (KERNELS, RUNTIME, BRIDGE) if Path(built.get_ext_fullpath(name)).exists()]
        self.root_is_pure = not native
        python, abi, platform = super().get_tag()
        return (python, abi, platform) if BRIDGE in native else ("py3", "none", platform)


setup(ext_modules=extensions(), cmdclass={"build_ext": BuildLibraries, "bdist_wheel": PlatformWheel})
