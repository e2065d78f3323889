"""Builds the CPU library of `kernels/` into the wheel, if there is a compiler; NumPy stands in where there is none.

It is a plain shared library for ctypes and knows no Python, so one wheel serves every Python 3 of a platform.
"""

from __future__ import annotations

import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.modified import newer_group

LIBRARY = "ovkernels.libovk"
SOURCES = sorted(
    file.as_posix() for folder in ("kernels/csrc", "kernels/csrc/cpu") for file in Path(folder).glob("*.cpp")
)
HEADERS = sorted(file.as_posix() for file in Path("kernels").rglob("*.h"))
# As in kernels/CMakeLists.txt: same bits as NumPy, and loops that become vectors.
COMPILE = ["-std=c++17", "-O3", "-ffp-contract=off", "-fno-trapping-math", "-fvisibility=hidden", "-Wno-psabi", "-g0"]

LINK = ["-pthread", *(["-Wl,-z,nodelete"] if sys.platform == "linux" else [])]


class BuildLibrary(build_ext):
    """A library by its own name, without a module's suffix and init function."""

    def get_ext_filename(self, fullname: str) -> str:
        suffix = ".dylib" if sys.platform == "darwin" else ".so"
        return fullname.replace(".", "/") + suffix

    def build_extension(self, ext: Extension) -> None:
        beside_the_sources = Path("kernels", self.get_ext_filename(ext.name))
        if not self.editable_mode or newer_group([*ext.sources, *ext.depends], str(beside_the_sources)):
            super().build_extension(ext)

    def get_export_symbols(self, ext: Extension) -> list[str]:
        return []


class PlatformWheel(bdist_wheel):
    """Tagged for the platform if the library is in it, and for any if not."""

    def get_tag(self) -> tuple[str, str, str]:
        built = Path(self.get_finalized_command("build_ext").get_ext_fullpath(LIBRARY)).exists()
        self.root_is_pure = not built
        return "py3", "none", super().get_tag()[2]


setup(
    ext_modules=[
        Extension(
            LIBRARY,
            SOURCES,
            depends=[*HEADERS, "setup.py"],
            extra_compile_args=COMPILE,
            extra_link_args=LINK,
            language="c++",
            optional=True,
        )
    ],
    cmdclass={"build_ext": BuildLibrary, "bdist_wheel": PlatformWheel},
)
