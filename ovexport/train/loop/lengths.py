"""How long each sample is, as the grouping of a recipe wants it, before the first step is planned.

Counting reads every record, and for tokens the header of every medium, so processes share it, and the stage's folder
keeps it for a run that goes on. Legend: N samples of the mixture, K those that this process counts.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ovexport.progress import Bars
from ovexport.train.data.dataset import TrainingSet
from ovexport.train.data.mixture import Mixture
from ovexport.train.data.spec import SampleSpec
from ovexport.train.loop.parallel import Processes
from ovexport.train.loop.whole_file import write_whole

Lengths = NDArray[np.int64]
_Progress = Callable[[int, int], None]
_Counter = Callable[[TrainingSet, _Progress], Lengths]
_NAME = "lengths-{key}.npy"

_COUNTERS: dict[str, _Counter] = {
    "modality-length": lambda samples, progress: samples.mixture.word_counts(progress),
    "like-length": TrainingSet.token_counts,
    "packed": TrainingSet.token_counts,
}


def sample_lengths(grouping: str, samples: TrainingSet, folder: Path, processes: Processes, bars: Bars) -> Lengths:
    """What `epoch_batches` takes. All processes call it; what was counted before is read from `folder`."""
    count = _COUNTERS.get(grouping)
    if count is None:  # only shuffled
        return np.ones(len(samples), dtype=np.int64)
    path = folder / _NAME.format(key=_key(grouping, samples))
    kept_N = _read(path)
    if processes.total(np.array([kept_N is None])).any():
        kept_N = _counted(count, samples, processes, bars)
        if processes.is_first:
            _keep(path, kept_N)
    assert kept_N is not None  # else it has just been counted
    return kept_N


def _counted(count: _Counter, samples: TrainingSet, processes: Processes, bars: Bars) -> Lengths:
    """Every process counts its share, and adds it to those of the others."""
    mixture = samples.mixture
    own = [indices[processes.rank :: processes.size] for indices in mixture.selected]
    share = TrainingSet(Mixture(mixture.entries, mixture.files, own), samples.spec)
    lengths_N = np.zeros(len(samples), dtype=np.int64)
    with bars.items("measuring", " records") as progress:
        lengths_N[_own_numbers(mixture, processes)] = count(share, progress)
    return processes.total(lengths_N)


def _own_numbers(mixture: Mixture, processes: Processes) -> Lengths:
    """The samples of this process in the order of its share: every `size`-th of each entry."""
    numbers_N = np.arange(len(mixture))
    ends = np.cumsum([len(indices) for indices in mixture.selected])
    return np.concatenate([part[processes.rank :: processes.size] for part in np.split(numbers_N, ends[:-1])])


def _key(grouping: str, samples: TrainingSet) -> str:
    """A hash of all that lengths depend on, but for the media themselves."""
    digest = hashlib.sha256()
    for entry, indices in zip(samples.mixture.entries, samples.mixture.selected, strict=True):
        status = entry.json_path.stat()
        folders = [str(entry.json_path), str(entry.image_folder), str(entry.video_folder)]
        digest.update(json.dumps([*folders, status.st_size, status.st_mtime_ns]).encode())
        digest.update(np.asarray(indices, dtype=np.int64).tobytes())
    digest.update(json.dumps([_COUNTERS[grouping] is TrainingSet.token_counts, _settings(samples.spec)]).encode())
    return digest.hexdigest()[:16]


def _settings(spec: SampleSpec) -> list[str]:
    named = {field.name: getattr(spec, field.name) for field in dataclasses.fields(spec)}
    tokenizer = named.pop("tokenizer").to_str()
    return [repr(sorted(named.items())), hashlib.sha256(tokenizer.encode()).hexdigest()]


def _read(path: Path) -> Lengths | None:
    try:
        kept: Lengths = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return kept


def _keep(path: Path, lengths_N: Lengths) -> None:
    content = io.BytesIO()
    np.save(content, lengths_N)
    path.parent.mkdir(parents=True, exist_ok=True)
    for old in path.parent.glob(_NAME.format(key="*")):
        old.unlink()
    write_whole(path, content.getvalue())
