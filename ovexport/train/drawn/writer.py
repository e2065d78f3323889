"""Writes drawings as a LLaVA record file with its pictures and clips beside it, resumable after a kill.

Drawing `i` is a pure function of (name, seed, i), so a run that was cut short goes on where the last whole line
ends, and any number of workers writes the same bytes. Knows nothing of what is drawn or of how records are read.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path

from ovengines.errors import ExitCode, OVError
from ovengines.replacement import disk_errors
from ovexport.train.drawn.clipfile import write_clip
from ovexport.train.drawn.family import Drawing
from ovexport.train.drawn.kind import Kind

CAPTION_REQUESTS = {  # the released wording, with the noun that fits
    "single-image": "Please generate detailed descriptions of the given image.",
    "multi-image": "Please generate detailed descriptions of the given images.",
    "video": "Please generate detailed descriptions of the given video.",
}
TOLD = "told"  # the form without media
_DISK_HINT = "make room and run again in the same folder: it goes on where it stopped"
_CHUNK = 64  # records between two writes of the record file
_PROBED = 8  # first drawings that stand for the generator in the state file

Turn = dict[str, str]


@dataclass(frozen=True, kw_only=True)
class _Job:
    """What one set of drawings is; enough for a worker to make any record of it."""

    folder: Path
    name: str
    kind: Kind
    seed: int
    held_out: bool
    form: str

    def drawing(self, index: int) -> Drawing:
        return self.kind.draw(random.Random(f"{self.name} {self.seed} {index}"), held_out=self.held_out)

    def write(self, index: int) -> str:
        """Writes the media of drawing `index`; its record as one line of JSON."""
        drawing = self.drawing(index)
        media = {} if self.form == TOLD else _write_media(self.folder, f"{self.name}/{index:05d}", drawing)
        record = {"id": f"{self.name}/{index:05d}", **media, **_FORMS[self.form](drawing, self.kind)}
        return json.dumps(record) + "\n"


def write_drawings(
    folder: Path,
    name: str,
    kind: Kind,
    count: int,
    seed: int,
    *,
    held_out: bool,
    form: str,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Writes `count` drawings as folder/name.jsonl and folder/name/*; the path of the record file.

    `form` is "caption" (one exchange: the caption), "exchanges" (all questions as turns) or "told" (the same about the
    caption, without media). A finished set with the
    same settings is left alone, another one is replaced. `progress` takes the records done and the records in all.
    """
    if form not in _FORMS:
        raise OVError(ExitCode.USAGE, f"unknown form of drawings: {form!r}", f"use one of {', '.join(_FORMS)}")
    job = _Job(folder=folder, name=name, kind=kind, seed=seed, held_out=held_out, form=form)
    finished, part, state_path = folder / f"{name}.jsonl", folder / f"{name}.jsonl.part", folder / f"{name}.json"
    state = {"count": count, "seed": seed, "held_out": held_out, "form": form, "probe": _probe(job)}
    with disk_errors(folder, _DISK_HINT):
        (folder / name).mkdir(parents=True, exist_ok=True)
        if _read_state(state_path) != state:
            finished.unlink(missing_ok=True)
            part.unlink(missing_ok=True)
            state_path.write_text(json.dumps(state) + "\n")
        if finished.exists():
            return finished
        _write_records(job, part, count, workers, progress)
        part.replace(finished)
    return finished


def _write_records(
    job: _Job, part: Path, count: int, workers: int, progress: Callable[[int, int], None] | None
) -> None:
    done = _whole_lines(part)
    with part.open("ab") as file, _mapping(workers) as mapped:
        chunk: list[str] = []
        for line in mapped(job.write, range(done, count)):
            chunk.append(line)
            if len(chunk) == _CHUNK or done + len(chunk) == count:
                file.write("".join(chunk).encode())
                file.flush()
                done, chunk = done + len(chunk), []
                if progress is not None:
                    progress(done, count)


def _whole_lines(part: Path) -> int:
    """How many records the cut-off file holds; a last line without its end is cut away."""
    if not part.exists():
        return 0
    text = part.read_bytes()
    end = text.rfind(b"\n") + 1
    if end != len(text):
        with part.open("r+b") as file:
            file.truncate(end)
    return text.count(b"\n")


@contextmanager
def _mapping(workers: int) -> Iterator[Callable[[Callable[[int], str], range], Iterator[str]]]:
    """`map`, in this process or over several, results in order."""
    if workers == 1:
        yield map
        return
    with multiprocessing.Pool(workers) as pool:
        yield lambda function, indices: pool.imap(function, indices, chunksize=16)


def _read_state(path: Path) -> object:
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def _probe(job: _Job) -> str:
    """A hash of the first drawings, so that a changed generator does not pass for the one that wrote the files."""
    digest = hashlib.sha256()
    for index in range(_PROBED):
        drawing = job.drawing(index)
        text = [drawing.caption, [asdict(e) for e in drawing.exchanges], [asdict(f) for f in job.kind.families]]
        digest.update(json.dumps(text).encode())
        for picture in chain(drawing.images, drawing.frames):
            digest.update(picture.tobytes())
    return digest.hexdigest()


def _write_media(folder: Path, stem: str, drawing: Drawing) -> dict[str, str | list[str]]:
    """Writes folder/stem.png, folder/stem_K.png or folder/stem.mp4; the media fields of the record."""
    if drawing.frames:
        write_clip(folder / f"{stem}.mp4", drawing.frames)
        return {"video": f"{stem}.mp4"}
    if not drawing.images:
        return {}
    several = len(drawing.images) > 1
    names = [f"{stem}_{number}.png" if several else f"{stem}.png" for number in range(len(drawing.images))]
    for name, image in zip(names, drawing.images, strict=True):
        image.save(folder / name, compress_level=1)  # speed matters more than size here
    return {"image": names if several else names[0]}


def _markers(drawing: Drawing) -> str:
    """One marker per image, one for a video of any length; a newline after each, as the runtime puts them."""
    count = 1 if drawing.frames else len(drawing.images)
    return "<image>\n" * count


def _exchange(question: str, answer: str) -> list[Turn]:
    return [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]


def _caption_fields(drawing: Drawing, kind: Kind) -> dict[str, object]:
    if not drawing.caption:
        raise ValueError(f"drawings of kind {drawing.kind} have no caption")
    vision_input = kind.families[0].vision_input
    return {
        "conversations": _exchange(_markers(drawing) + CAPTION_REQUESTS[vision_input], drawing.caption),
        "vision_input": vision_input,
        "instruction": "General",
        "response": "free-form",
    }


def _exchange_fields(drawing: Drawing, kind: Kind) -> dict[str, object]:
    """All exchanges as turns; the levels of the taxonomy are those of the first one's family."""
    turns = [turn for e in drawing.exchanges for turn in _exchange(e.question, e.answer)]
    turns[0] = {"from": "human", "value": _markers(drawing) + turns[0]["value"]}
    first = next(family for family in kind.families if family.name == drawing.exchanges[0].family)
    return {
        "conversations": turns,
        "families": [exchange.family for exchange in drawing.exchanges],
        "vision_input": first.vision_input,
        "instruction": first.instruction,
        "response": first.response,
    }


def _told_fields(drawing: Drawing, kind: Kind) -> dict[str, object]:
    """The caption, as the system turn, in place of the picture: what a language model can learn before it sees."""
    turns = [turn for e in drawing.exchanges for turn in _exchange(e.question, e.answer)]
    return {
        "conversations": [{"from": "system", "value": drawing.caption}, *turns],
        "families": [exchange.family for exchange in drawing.exchanges],
        "vision_input": "text",
        "instruction": "Language",
        "response": "fixed-form",
    }


_FORMS: dict[str, Callable[[Drawing, Kind], dict[str, object]]] = {
    "caption": _caption_fields,
    "exchanges": _exchange_fields,
    TOLD: _told_fields,
}
