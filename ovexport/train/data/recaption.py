"""New captions for a folder of images from any bundle: the self-improvement step of stage 1.5.

Appends one LLaVA record per image as soon as it is there, so that a run that was killed goes on where it stopped.
Knows no engines and no tokens: a Session answers.
"""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ovengines.errors import ExitCode, OVError
from ovrun.prompt.messages import MARKERS

if TYPE_CHECKING:
    from ovrun.session import Session

PROMPT = "Please generate detailed descriptions of the given image."  # of the released LLaVA-ReCap sets
MAX_NEW_TOKENS = 512
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
_BROKEN_IMAGE = (ExitCode.BAD_INPUT, ExitCode.LIMIT_EXCEEDED)  # faults of one image; any other ends the run
_RECORD_START = b'{"id": '


@dataclass(frozen=True, kw_only=True)
class Job:
    """`limit` takes the first so many images in sorted order, the same ones in every run."""

    images: Path
    out: Path
    prompt: str = PROMPT
    max_new_tokens: int = MAX_NEW_TOKENS
    limit: int | None = None

    @property
    def skipped(self) -> Path:
        return self.out.with_name(f"{self.out.stem}.skipped.jsonl")


@dataclass(frozen=True, kw_only=True)
class Summary:
    """`captioned` and `skipped` of this run, `before` of earlier ones; `cut_off` captions ran into max_new_tokens."""

    before: int
    captioned: int
    skipped: int
    cut_off: int
    seconds: float


def recaption(session: Session, job: Job, progress: Callable[[int, int], None]) -> Summary:
    """Caption what has no caption yet; `progress` takes the images done and all.

    Images that can't be read, or get an empty caption, are listed in `job.skipped`, afresh by every run.

    Raises:
        OVError: BAD_INPUT without images, USAGE for an `out` of something else, LIMIT_EXCEEDED for a full disk.
    """
    _check(job)
    names = find_images(job.images)[: job.limit]
    source = f"recaption: {session.bundle.manifest.source}"
    known = _prepare(job, source)
    todo = [name for name in names if name not in known]
    before = len(names) - len(todo)
    counts = {"captioned": 0, "skipped": 0, "cut_off": 0}
    started_s = time.monotonic()
    progress(before, len(names))
    for number, name in enumerate(todo, start=before + 1):
        for count in _caption(session, job, name, source):
            counts[count] += 1
        progress(number, len(names))
    return Summary(before=before, seconds=time.monotonic() - started_s, **counts)


def describe(summary: Summary, job: Job) -> str:
    """One line on what a run did, and one on what to know about it.

    Raises OVError (BAD_INPUT) where there is not a single caption, before or now.
    """
    if summary.captioned + summary.before == 0:
        raise OVError(ExitCode.BAD_INPUT, f"no image under {job.images} got a caption", f"see {job.skipped} for why")
    rate = f", {summary.captioned / summary.seconds:.2f} images/s" if summary.captioned else ""
    line = (
        f"captions: {summary.captioned:,} in {summary.seconds:.1f} s{rate}, {summary.before:,} from before: {job.out}"
    )
    if summary.skipped:
        line += f"\nwithout a caption: {summary.skipped:,}, listed in {job.skipped}"
    if summary.cut_off:
        line += f"\ncut off after {job.max_new_tokens} tokens: {summary.cut_off:,}"
    return line


def _check(job: Job) -> None:
    if MARKERS["image"] in job.prompt:
        raise OVError(ExitCode.USAGE, f"the prompt has {MARKERS['image']} in it", "leave it out: it is put first")
    if job.out.suffix != ".jsonl":
        raise OVError(ExitCode.USAGE, f"{job.out} does not end in .jsonl", "there is one record a line: name it so")


def find_images(folder: Path) -> list[str]:
    """Paths relative to `folder` of all images under it, sorted, with / on every system."""
    if not folder.is_dir():
        raise OVError(ExitCode.BAD_INPUT, f"{folder} is not a folder", "give the folder that holds the images")
    found = [
        (Path(parent) / name).relative_to(folder).as_posix()
        for parent, _, names in os.walk(folder)
        for name in names
        if name.lower().endswith(SUFFIXES)
    ]
    if not found:
        raise OVError(ExitCode.BAD_INPUT, f"{folder} has no images", f"it should hold {', '.join(SUFFIXES)} files")
    return sorted(found)


def _prepare(job: Job, source: str) -> set[str]:
    with _writing(job.out):
        job.out.parent.mkdir(parents=True, exist_ok=True)
        known = captioned_before(job, source)
        job.skipped.unlink(missing_ok=True)
    return known


def captioned_before(job: Job, source: str) -> set[str]:
    """The images that `job.out` has records of; a last line that was cut off is taken away.

    Raises OVError (USAGE) before anything is changed where a line is not of this job.
    """
    names: set[str] = set()
    if not job.out.exists():
        return names
    whole_bytes, torn = 0, b""
    with job.out.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                torn = line
                break
            names.add(_image_of(line, job, source, f"{job.out}, line {number}"))
            whole_bytes += len(line)
    if torn[: len(_RECORD_START)] != _RECORD_START[: len(torn)]:
        raise _not_ours(str(job.out))
    if torn:
        os.truncate(job.out, whole_bytes)
    return names


def _image_of(line: bytes, job: Job, source: str, where: str) -> str:
    try:
        record = json.loads(line)
        image, written_by, asked = record["image"], record["data_source"], record["conversations"][0]["value"]
    except (ValueError, KeyError, TypeError, IndexError) as err:
        raise _not_ours(where) from err
    if not isinstance(image, str):
        raise _not_ours(where)
    if written_by != source or asked != _question(job.prompt):
        raise OVError(
            ExitCode.USAGE,
            f"{where} is from another run: {written_by!r}, prompt {asked!r}",
            "take the same bundle and prompt to go on with it, or another output file",
        )
    return image


def _not_ours(where: str) -> OVError:
    return OVError(ExitCode.USAGE, f"{where} is not a record of new captions", "choose another output file")


def _question(prompt: str) -> str:
    return f"{MARKERS['image']}\n{prompt}"


def _caption(session: Session, job: Job, name: str, source: str) -> tuple[str, ...]:
    """Writes the record of one image, or why there is none; the names of what to count."""
    try:
        answer = session.generate(prompt=job.prompt, images=[job.images / name], max_new_tokens=job.max_new_tokens)
    except OVError as err:
        if err.code not in _BROKEN_IMAGE:
            raise
        return _skip(job, name, err.message)
    caption = answer.text.strip()
    if not caption:
        return _skip(job, name, "the caption is empty")
    turns = [{"from": "human", "value": _question(job.prompt)}, {"from": "gpt", "value": caption}]
    _append(job.out, {"id": name, "image": name, "conversations": turns, "data_source": source})
    return ("captioned", "cut_off") if answer.finish_reason == "length" else ("captioned",)


def _skip(job: Job, name: str, reason: str) -> tuple[str, ...]:
    _append(job.skipped, {"image": name, "reason": reason})
    return ("skipped",)


def _append(path: Path, fields: dict[str, Any]) -> None:
    """The whole line in one write, and out of this process before the next image."""
    with _writing(path), path.open("ab") as file:
        file.write(json.dumps(fields).encode() + b"\n")


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as err:
        code = ExitCode.LIMIT_EXCEEDED if err.errno in (errno.ENOSPC, errno.EDQUOT) else ExitCode.USAGE
        hint = "make room or choose another file; run it again, it goes on where it stopped"
        raise OVError(code, f"captions can't be written to {path}: {err.strerror}", hint) from err
