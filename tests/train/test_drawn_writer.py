"""Record files of drawings: what they say, that their media are what was drawn, and that a kill costs nothing."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from ovengines.errors import ExitCode, OVError
from ovexport.train.drawn import album, motion, pair, repaint, writer
from ovexport.train.drawn.family import Drawing, Exchange, Family
from ovexport.train.drawn.heldout import heldout_drawings
from ovexport.train.drawn.kind import Kind
from ovexport.train.drawn.writer import write_drawings

ALBUM, PAIR, MOTION, REPAINT = (Kind(families=m.FAMILIES, draw=m.draw) for m in (album, pair, motion, repaint))


def draw_text(rng: random.Random, *, held_out: bool) -> Drawing:
    return Drawing(kind="text", exchanges=(Exchange(family="sum", question="1 + 1?", answer="2"),))


TEXT = Kind(
    families=(Family(name="sum", vision_input="text", instruction="Math/Reasoning", response="fixed-form", chance=0),),
    draw=draw_text,
)


def records(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def decoded(path: Path) -> tuple[np.ndarray, Fraction | None]:
    with av.open(str(path)) as container:
        rate = container.streams.video[0].average_rate
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]), rate


def test_images_and_turns(tmp_path: Path) -> None:
    path = write_drawings(tmp_path, "albums", ALBUM, 12, 3, held_out=True, form="exchanges")
    for i, record in enumerate(records(path)):
        drawing = album.draw(random.Random(f"albums 3 {i}"), held_out=True)
        assert record["image"] == [f"albums/{i:05d}_{n}.png" for n in range(len(drawing.images))]
        for name, image in zip(record["image"], drawing.images, strict=True):
            assert np.array_equal(np.asarray(Image.open(tmp_path / name)), np.asarray(image))
        turns = record["conversations"]
        assert [turn["from"] for turn in turns] == ["human", "gpt"] * len(drawing.exchanges)
        first = "<image>\n" * len(drawing.images) + drawing.exchanges[0].question
        assert [t["value"] for t in turns[::2]] == [first, *(e.question for e in drawing.exchanges[1:])]
        assert [t["value"] for t in turns[1::2]] == [e.answer for e in drawing.exchanges]
        assert record["families"] == [e.family for e in drawing.exchanges]
        levels = (record["vision_input"], record["instruction"], record["response"])
        assert levels == ("multi-image", "General", "fixed-form")


def test_clips_decode_to_what_was_drawn(tmp_path: Path) -> None:
    """Colour is halved in resolution, so edges differ; on the whole and inside of shapes it is a few grey levels."""
    for kind, module in ((MOTION, motion), (REPAINT, repaint)):
        path = write_drawings(tmp_path, "clips", kind, 8, 0, held_out=False, form="caption")
        for i, record in enumerate(records(path)):
            drawing = module.draw(random.Random(f"clips 0 {i}"), held_out=False)
            frames_THWC, rate = decoded(tmp_path / record["video"])
            drawn_THWC = np.stack([np.asarray(frame) for frame in drawing.frames])
            assert rate == 1 and frames_THWC.shape == drawn_THWC.shape
            off_THWC = np.abs(frames_THWC.astype(int) - drawn_THWC)
            assert off_THWC.mean() < 3
            for off_HWC, (mark,) in zip(off_THWC, drawing.marks, strict=True):
                y, x = int((mark.y0_px + mark.y1_px) / 2), int((mark.x0_px + mark.x1_px) / 2)
                assert off_HWC[y - 2 : y + 3, x - 2 : x + 3].mean() < 6
            (human, gpt) = record["conversations"]
            assert human["value"] == "<image>\nPlease generate detailed descriptions of the given video."
            assert gpt["value"] == drawing.caption
            assert "families" not in record and record["response"] == "free-form"


def test_text_only_has_neither_media_nor_marker(tmp_path: Path) -> None:
    (record,) = records(write_drawings(tmp_path, "sums", TEXT, 1, 0, held_out=False, form="exchanges"))
    assert not {"image", "video"} & set(record)
    assert record["conversations"][0] == {"from": "human", "value": "1 + 1?"}
    with pytest.raises(ValueError, match="no caption"):
        write_drawings(tmp_path, "captions", TEXT, 1, 0, held_out=False, form="caption")


def test_workers_write_the_same_bytes(tmp_path: Path) -> None:
    for workers in (1, 2):
        write_drawings(tmp_path / str(workers), "p", PAIR, 150, 1, held_out=False, form="exchanges", workers=workers)
    assert files(tmp_path / "1") == files(tmp_path / "2")


def test_finished_set_is_left_alone_and_another_one_replaced(tmp_path: Path) -> None:
    def write(count: int = 20, seed: int = 0, kind: Kind = PAIR) -> list[tuple[int, int]]:
        steps: list[tuple[int, int]] = []
        write_drawings(
            tmp_path, "p", kind, count, seed, held_out=False, form="exchanges", progress=lambda *s: steps.append(s)
        )
        return steps

    assert write() == [(20, 20)]
    first = files(tmp_path)
    assert write() == [] and files(tmp_path) == first
    assert write(seed=1) == [(20, 20)] and files(tmp_path) != first
    assert write() == [(20, 20)] and files(tmp_path) == first
    assert write(count=21) == [(21, 21)]
    assert len(records(tmp_path / "p.jsonl")) == 21
    assert write(count=21, kind=ALBUM) == [(21, 21)]  # a generator that draws something else now
    assert write(count=130, kind=ALBUM) == [(64, 130), (128, 130), (130, 130)]


SCRIPT = """
import sys
from pathlib import Path
from ovexport.train.drawn import motion
from ovexport.train.drawn.kind import Kind
from ovexport.train.drawn.writer import write_drawings
kind = Kind(families=motion.FAMILIES, draw=motion.draw)
write_drawings(Path(sys.argv[1]), "m", kind, 300, 5, held_out=False, form="exchanges")
"""


def test_killed_run_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    part = killed / "m.jsonl.part"
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(killed)], cwd=Path(__file__).parents[2])
    deadline = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert part.stat().st_size and not (killed / "m.jsonl").exists()
    with part.open("ab") as file:
        file.write(b'{"id": "m/000')  # as if the kill had hit the write itself
    steps: list[int] = []
    for folder in (killed, whole):
        write_drawings(
            folder, "m", MOTION, 300, 5, held_out=False, form="exchanges", progress=lambda done, _: steps.append(done)
        )
    assert steps[0] >= 128  # the first 64 at least were not written again
    assert files(killed) == files(whole)
    assert len(records(killed / "m.jsonl")) == 300


def test_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save, saved = Image.Image.save, []

    def full(image: Image.Image, *args: object, **options: object) -> None:
        saved.append(args)
        if len(saved) > 150:
            raise OSError(errno.ENOSPC, "No space left on device")
        save(image, *args, **options)

    with monkeypatch.context() as patched:
        patched.setattr(Image.Image, "save", full)
        with pytest.raises(OVError, match="No space left") as caught:
            write_drawings(tmp_path / "a", "p", PAIR, 100, 0, held_out=False, form="exchanges")
    assert caught.value.code == ExitCode.LIMIT_EXCEEDED
    for folder in ("a", "b"):
        write_drawings(tmp_path / folder, "p", PAIR, 100, 0, held_out=False, form="exchanges")
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_errors(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OVError, match=str(tmp_path / "file")) as caught:
        write_drawings(tmp_path / "file", "p", PAIR, 1, 0, held_out=False, form="exchanges")
    assert caught.value.code == ExitCode.USAGE
    with pytest.raises(OVError, match="'poem'") as caught:
        write_drawings(tmp_path, "p", PAIR, 1, 0, held_out=False, form="poem")
    assert caught.value.code == ExitCode.USAGE
    assert not (tmp_path / "p").exists()


def test_heldout_drawings() -> None:
    kinds = {"album": ALBUM, "motion": MOTION, "repaint": REPAINT}
    pairs = list(heldout_drawings(kinds, 7, seed=2))
    names = {f.name for kind in kinds.values() for f in kind.families}
    assert Counter(e.family for _, e in pairs) == dict.fromkeys(names, 7)
    assert Counter(d.kind for d, e in pairs if e.family == "video-object") == {"motion": 4, "repaint": 3}
    assert len({(id(d), e.family) for d, e in pairs}) == len(pairs)
    assert all(e in d.exchanges for d, e in pairs)
    again = list(heldout_drawings(kinds, 7, seed=2))
    assert [(d.caption, e) for d, e in again] == [(d.caption, e) for d, e in pairs]
    assert [(d.caption, e) for d, e in heldout_drawings(kinds, 7, seed=3)] != [(d.caption, e) for d, e in pairs]
    trained = {album.draw(random.Random(f"t {i}"), held_out=False).caption for i in range(300)}
    assert not trained & {d.caption for d, _ in pairs if d.kind == "album"}


def test_heldout_family_that_is_never_asked() -> None:
    never = Family(name="never", vision_input="text", instruction="Language", response="fixed-form", chance=0)
    with pytest.raises(ValueError, match="never"):
        list(heldout_drawings({"text": Kind(families=(*TEXT.families, never), draw=draw_text)}, 2))


def test_released_caption_wording() -> None:
    assert writer.CAPTION_REQUESTS["single-image"] == "Please generate detailed descriptions of the given image."
