"""The samples of a mixture as a torch Dataset, in which a broken record is never fatal.

A pure function of the index: nothing is drawn at random, and workers share no state. Knows no batches.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from ovengines.errors import ExitCode, OVError
from ovexport.train.data.collate import Skipped
from ovexport.train.data.measure import count_tokens
from ovexport.train.data.mixture import Mixture
from ovexport.train.data.records import BadRecord
from ovexport.train.data.sample import Sample, SampleSpec, make_sample

MAX_TRIES = 8


class TrainingSet(Dataset[tuple[Sample, tuple[Skipped, ...]]]):
    """Sample i is that of record i of the mixture, or of the next one that is not broken."""

    def __init__(self, mixture: Mixture, spec: SampleSpec) -> None:
        self.mixture = mixture
        self.spec = spec

    def __len__(self) -> int:
        return len(self.mixture)

    def __getitem__(self, index: int) -> tuple[Sample, tuple[Skipped, ...]]:
        """The sample and the broken records before it. Raises OVError (BAD_INPUT) after eight of them in a row."""
        skipped: list[Skipped] = []
        for number in range(index, index + min(MAX_TRIES, len(self))):
            made = self._made(number % len(self))
            if isinstance(made, Sample):
                return made, tuple(skipped)
            skipped.append(made)
        first = skipped[0]
        raise OVError(
            ExitCode.BAD_INPUT,
            f"{len(skipped)} records in a row are broken, first record {first.index} of {first.file}: {first.reason}",
            "look whether the folders of images and videos are right",
        )

    def token_counts(self, progress: Callable[[int, int], None] | None = None) -> NDArray[np.int64]:
        """Tokens of every sample, from headers alone, for grouping "packed"; 1 for a record that looks broken."""
        counts = np.ones(len(self), dtype=np.int64)
        for number in range(len(self)):
            with suppress(BadRecord, OVError):
                counts[number] = count_tokens(self.mixture[number], self.spec)
            if progress is not None and (number % 100 == 99 or number == len(self) - 1):
                progress(number + 1, len(self))
        return counts

    def _made(self, number: int) -> Sample | Skipped:
        record_id = ""
        try:
            record = self.mixture[number]
            record_id = record.id
            return make_sample(record, self.spec)
        except BadRecord as err:
            place, index = self.mixture.locate(number)
            file = str(self.mixture.files[place].path)
            return Skipped(record_id=record_id or err.record_id, file=file, index=index, reason=err.reason)
