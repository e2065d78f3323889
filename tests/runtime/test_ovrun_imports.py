"""What `import ovrun` costs, and that the runtime lives without the exporter's dependencies."""

from __future__ import annotations

import statistics
import subprocess
import sys
from pathlib import Path

import pytest

import ovrun

HEAVY = ("torch", "transformers", "onnx", "onnxscript", "safetensors", "ovexport", "huggingface_hub")
RUNTIME = Path(ovrun.__file__).parent


def _run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _modules_below(folder: Path) -> list[str]:
    files = (f.relative_to(folder.parent).with_suffix("") for f in sorted(folder.rglob("*.py")))
    return [".".join(f.parts).removesuffix(".__init__") for f in files]


def test_import_of_the_package_imports_nothing_heavy() -> None:
    loaded = _run("import sys, ovrun; print('\\n'.join(sys.modules))").split()
    assert "ovrun" in loaded
    assert not {"numpy", "PIL", "tokenizers", "jinja2", "onnxruntime", *HEAVY} & set(loaded)


def test_every_module_imports_without_the_exporters_dependencies() -> None:
    blocked = f"import sys; sys.modules.update(dict.fromkeys({HEAVY!r}))"  # None makes an import fail
    names = ["ovengines", *_modules_below(RUNTIME)]
    assert len(names) > 20 and "ovrun.media.image" in names
    imports = "\n".join(f"import {name}" for name in names)
    loaded = _run(f"{blocked}\n{imports}\nprint([n for n in {HEAVY!r} if sys.modules.get(n)])")
    assert loaded.strip() == "[]"


def test_names_of_the_package_are_there() -> None:
    script = "import ovrun; from ovrun import *; print(Session.__module__, GenerationOptions.__module__)"
    assert _run(script).split() == ["ovrun.session", "ovrun.options"]
    assert set(ovrun.__all__) <= set(dir(ovrun))
    assert all(getattr(ovrun, name).__name__ == name for name in ovrun.__all__)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = ovrun.no_such_name


def test_import_costs_at_most_twice_numpys() -> None:
    clocked = "import time; s = time.perf_counter(); import {name}; print(time.perf_counter() - s)"

    def median_s(name: str) -> float:
        return statistics.median(float(_run(clocked.format(name=name))) for _ in range(5))

    assert median_s("ovrun") <= 2 * median_s("numpy")
