"""The arrows of the design: who may import whom, read from the sources; and Python 3.10 where devices run it."""

from __future__ import annotations

import ast
from collections.abc import Container, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "ovexport": ROOT / "ovexport",
    "ovengines": ROOT / "engines" / "ovengines",
    "ovkernels": ROOT / "kernels" / "ovkernels",
    "ovrun": ROOT / "runtime" / "ovrun",
}
ALLOWED = {
    "ovexport": {"ovexport", "ovrun", "ovengines", "ovkernels"},
    "ovrun": {"ovrun", "ovengines", "ovkernels"},
    "ovengines": {"ovengines"},
    "ovkernels": {"ovkernels"},
}
EXPORTER_ONLY = {"torch", "transformers", "onnx", "safetensors", "huggingface_hub", "tqdm"}
RUNTIME_DEPENDENCIES = {"numpy", "PIL", "tokenizers", "jinja2", "av"}


def sources(package: str) -> list[Path]:
    return sorted(PACKAGES[package].rglob("*.py"))


def imported_modules(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            yield node.module or ""


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_only_along_the_arrows(package: str) -> None:
    for file in sources(package):
        tops = {module.split(".")[0] for module in imported_modules(file)}
        assert not (tops & PACKAGES.keys()) - ALLOWED[package], file
        if package != "ovexport":
            assert not tops & EXPORTER_ONLY, file


def test_onnxruntime_is_imported_in_one_folder_of_the_runtime_side() -> None:
    for package in ("ovrun", "ovkernels", "ovengines"):
        for file in sources(package):
            if any(module.split(".")[0] == "onnxruntime" for module in imported_modules(file)):
                assert file.parent.name == "onnxruntime" or file.name in ("devices.py", "result.py"), file


def test_no_circles_within_a_package() -> None:
    for package, root in PACKAGES.items():
        modules = {_module_name(package, root, file): file for file in sources(package)}
        edges = {
            name: {target for target in _eager_imports(file, modules) if target in modules and target != name}
            for name, file in modules.items()
        }
        _assert_no_circle(edges)


def test_areas_are_not_packages() -> None:
    for area in ("runtime", "engines", "kernels"):
        assert not (ROOT / area / "__init__.py").exists()


@pytest.mark.parametrize("package", ["ovrun", "ovengines", "ovkernels"])
def test_runtime_side_keeps_to_python_3_10(package: str) -> None:
    for file in sources(package):
        ast.parse(file.read_text(), feature_version=(3, 10))


def test_no_file_has_grown_without_an_owner() -> None:
    for package in PACKAGES:
        for file in sources(package):
            assert len(file.read_text().splitlines()) <= 400, file
            assert file.stem not in ("utils", "helpers", "common", "manager"), file


def _module_name(package: str, root: Path, file: Path) -> str:
    parts = [package, *file.relative_to(root).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _eager_imports(file: Path, modules: Container[str]) -> Iterator[str]:
    """Modules imported when the file is: not those inside functions or under TYPE_CHECKING."""
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            members = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (member if member in modules else str(node.module) for member in members)


def _assert_no_circle(edges: dict[str, set[str]]) -> None:
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join((*path, name))
        if name not in done:
            for target in sorted(edges[name]):
                visit(target, (*path, name))
            done.add(name)

    for name in edges:
        visit(name, ())
