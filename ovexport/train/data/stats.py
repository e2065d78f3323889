"""Counts what is in a mixture: records, exchanges, words and media, with their levels, and what is broken.

Files that are not here are counted by their published count, or listed. Knows no tokens; opens media only if asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from ovengines.errors import ExitCode, OVError
from ovexport.train.data.mixture import SHIPPED, Entry, Mixture, read_entries
from ovexport.train.data.published import published_figure
from ovexport.train.data.records import LEVELS, BadRecord, Record, RecordFile
from ovexport.train.data.strategy import parse_strategy, select
from ovexport.train.data.tally import (
    NOT_HERE,
    PUBLISHED,
    READ,
    UNKNOWN,
    Broken,
    Combination,
    EntryStats,
    MixtureStats,
    Tally,
)
from ovexport.train.data.taxonomy import NOT_STATED, levels_of
from ovrun.media.image import load_image
from ovrun.media.video import load_frames

VIDEO_FPS, MAX_FRAMES = 1.0, 32  # as the released stages take frames
_REPORTED_EVERY = 100

Progress = Callable[[str, int, int], None]  # file, its records done, its records in all


def mixture_stats(
    path: str,
    *,
    root: Path | None = None,
    image_folder: Path | None = None,
    video_folder: Path | None = None,
    published: bool = False,
    open_media: bool = False,
    progress: Progress = lambda name, done, total: None,
) -> MixtureStats:
    """Read every record that takes part; `published` takes the published counts instead and reads nothing.

    The folders are for entries that name none.

    Raises OVError: BAD_INPUT for a mixture that can't be read, or of which there is neither a file nor a count.
    """
    base = root or (Path(path).parent if Path(path).is_file() else SHIPPED)
    entries = []
    for number, given in enumerate(read_entries(path, root=root)):
        folders = (given.image_folder or image_folder, given.video_folder or video_folder)
        entry = replace(given, image_folder=folders[0], video_folder=folders[1])
        name = _name(entry.json_path, base)
        if published or not entry.json_path.is_file():
            entries.append(_published(entry, name, PUBLISHED if published else NOT_HERE))
        else:
            entries.append(_read(entry, name, f"0 {number}", open_media, progress))
    if all(entry.source == UNKNOWN for entry in entries):
        raise OVError(
            ExitCode.BAD_INPUT,
            f"none of the {len(entries)} files of {path} is here, and no count of them is published",
            "say where they are: --data-root DIR",
        )
    figure = published_figure(path) if published else None
    return MixtureStats(name=path, entries=tuple(entries), figure=figure, media_opened=open_media)


def _name(path: Path, base: Path) -> str:
    return path.relative_to(base).as_posix() if path.is_relative_to(base) else str(path)


def _published(entry: Entry, name: str, source: str) -> EntryStats:
    if entry.count is None:
        return EntryStats(name=name, sampling_strategy=entry.sampling_strategy, source=UNKNOWN)
    combination = tuple(getattr(entry, level) or NOT_STATED for level in LEVELS)
    tally = Tally(records=parse_strategy(entry.sampling_strategy).count(entry.count))
    return EntryStats(name=name, sampling_strategy=entry.sampling_strategy, source=source, tallies={combination: tally})


def _read(entry: Entry, name: str, seed: str, open_media: bool, progress: Progress) -> EntryStats:
    """`seed` is that of `load_mixture`, so that `random` takes the records that training takes."""
    file = RecordFile(entry.json_path, entry.image_folder, entry.video_folder)
    mixture = Mixture([entry], [file], [select(parse_strategy(entry.sampling_strategy), len(file), seed)])
    tallies: dict[Combination, Tally] = {}
    broken = []
    for number in range(len(mixture)):
        try:
            record = mixture[number]
            combination, tally = tuple(levels_of(record).values()), tally_of(record, open_media=open_media)
            tallies[combination] = tallies.get(combination, Tally()) + tally
        except BadRecord as err:
            broken.append(Broken(file=name, index=mixture.locate(number)[1], id=err.record_id, reason=err.reason))
        if (number + 1) % _REPORTED_EVERY == 0 or number + 1 == len(mixture):
            progress(name, number + 1, len(mixture))
    return EntryStats(
        name=name,
        sampling_strategy=entry.sampling_strategy,
        source=READ,
        tallies=tallies,
        broken=tuple(broken),
        unknown_keys=dict(file.unknown_keys),
    )


def tally_of(record: Record, *, open_media: bool = False) -> Tally:
    """Raises BadRecord for media that are not there and, where they are opened, for those that can't be read."""
    for path in _media(record):
        if not path.exists():
            raise BadRecord(f"{path} does not exist", record.id)
    return Tally(
        records=1,
        exchanges=sum(turn.role == "assistant" for turn in record.turns),
        words=sum(len(turn.text.split()) for turn in record.turns),
        images=len(record.images),
        videos=int(record.video is not None),
        frames=_open(record) if open_media else 0,
    )


def _media(record: Record) -> Iterator[Path]:
    yield from record.images
    if record.video is not None:
        yield record.video


def _open(record: Record) -> int:
    """Decodes every medium; the number of frames that training takes of the video."""
    try:
        for path in record.images:
            load_image(path)
        return len(load_frames(record.video, fps=VIDEO_FPS, max_frames=MAX_FRAMES)) if record.video else 0
    except OVError as err:
        raise BadRecord(err.message, record.id) from err
