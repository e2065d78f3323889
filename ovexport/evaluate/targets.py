"""What is named on the command line -> who answers, and the name of its column.

Knows folders; torch is imported only when a checkpoint is among them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ovexport.embedded import NAME, find_model
from ovexport.evaluate.answerer import Answerer, How

TRAINED = "checkpoint"  # where a stage of training leaves its own, in its folder


def open_answerer(target: str, how: How) -> Answerer:
    """Of a bundle's folder, a checkpoint's folder or Hub id, or the folder of a stage of training.

    Raises OVError as `Session.open` and `open_checkpoint` do.
    """
    if (Path(target) / "manifest.json").is_file():
        from ovexport.evaluate.bundle_answerer import BundleAnswerer

        return BundleAnswerer(target, how)
    from ovexport.checkpoint import open_checkpoint
    from ovexport.evaluate.torch_answerer import TorchAnswerer

    model = find_model(target)
    trained = Path(model) / TRAINED
    return TorchAnswerer(open_checkpoint(trained if trained.is_dir() else model), how)


def column_names(targets: Sequence[str]) -> list[str]:
    """The last part of each path that says something; more parts where two would be called the same."""
    parts = [_telling_parts(target) for target in targets]
    names = [path[-1] for path in parts]
    for length in range(2, max(map(len, parts)) + 1):
        count = Counter(names)
        names = ["/".join(path[-length:]) if count[name] > 1 else name for name, path in zip(names, parts, strict=True)]
    seen: Counter[str] = Counter()
    for index, name in enumerate(names):  # the same one, named twice
        seen[name] += 1
        names[index] = f"{name} ({seen[name]})" if seen[name] > 1 else name
    return names


def _telling_parts(target: str) -> tuple[str, ...]:
    parts = Path(target).resolve().parts if Path(target).exists() else Path(target).parts
    if len(parts) > 1 and parts[-1] == TRAINED:
        parts = parts[:-1]
    return tuple(part for part in parts if part != "/") or (NAME,)
