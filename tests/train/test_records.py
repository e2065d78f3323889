"""Record files against json.load, and everything that makes a record bad."""

from __future__ import annotations

import json
import logging
import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_oracle import random_text, write_records

from ovengines.errors import ExitCode, OVError
from ovexport.train.data import offsets
from ovexport.train.data.offsets import record_spans
from ovexport.train.data.records import BadRecord, RecordFile

TALK = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Ho"}]


def random_value(rng: random.Random, depth: int = 0) -> Any:
    """JSON of any shape, strings full of what a scanner could take for structure."""
    kinds = ["text", "number", "word"] + (["list", "dict"] if depth < 3 else [])
    kind = rng.choice(kinds)
    if kind == "text":
        return "".join(rng.choices('{}[],":\\ab\n\té图🙂\u2028', k=rng.randint(0, 12)))
    if kind == "number":
        return rng.choice([rng.random() * 10 ** rng.randint(-9, 9), rng.randint(-(10**12), 10**12)])
    if kind == "word":
        return rng.choice([None, True, False])
    if kind == "list":
        return [random_value(rng, depth + 1) for _ in range(rng.randint(0, 4))]
    return {random_text(rng): random_value(rng, depth + 1) for _ in range(rng.randint(0, 4))}


@pytest.mark.parametrize("seed", range(150))
def test_spans_cut_a_list_where_json_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    rng = random.Random(seed)
    monkeypatch.setattr(offsets, "_CHUNK_BYTES", rng.choice((16, 64, 1000, 1 << 22)))
    values = [random_value(rng) for _ in range(rng.randint(0, 12))]
    text = json.dumps(values, ensure_ascii=rng.random() < 0.5, indent=rng.choice((None, 2)))
    path = tmp_path / "records.json"
    path.write_bytes(rng.choice((b"", b"\xef\xbb\xbf", b" \n")) + text.encode() + rng.choice((b"", b"\n \n")))
    encoded = path.read_bytes()
    found = [json.loads(encoded[start:end]) for start, end in record_spans(path).tolist()]
    assert found == values, f"seed {seed}"


@pytest.mark.parametrize("seed", range(30))
def test_spans_of_lines(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    values = [random_value(rng) for _ in range(rng.randint(0, 12))]
    text = "".join(json.dumps(value, ensure_ascii=False) + rng.choice(("\n", "\r\n", "\n\n  \n")) for value in values)
    path = tmp_path / "records.jsonl"
    path.write_bytes((text.rstrip("\n") if rng.random() < 0.5 else text).encode())
    encoded = path.read_bytes()
    assert [json.loads(encoded[start:end]) for start, end in record_spans(path).tolist()] == values, f"seed {seed}"


@pytest.mark.parametrize(
    ("name", "content", "finding"),
    [
        ("a.json", b'{"id": 1}', "not a list"),
        ("a.json", b"", "not a list"),
        ("a.json", b'[{"id": 1}, {"id": ', "byte 12"),
        ("a.json", b'[{"id": 1}, {"id" 2}, {"id": 3}]', "byte 12"),
        ("a.json", b'[{"id": 1}', "not valid JSON"),
        ("missing.json", None, "can't be read: No such file"),
        ("missing.jsonl", None, "can't be read: No such file"),
    ],
)
def test_files_that_are_no_records(tmp_path: Path, name: str, content: bytes | None, finding: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(OVError, match=finding) as caught:
        RecordFile(tmp_path / name)
    assert caught.value.code == ExitCode.BAD_INPUT and name in caught.value.message


def only_record(tmp_path: Path, record: Any, **folders: Path) -> Any:
    return RecordFile(write_records(tmp_path / "records.jsonl", [record]), **folders)[0]


def test_a_record_with_everything(tmp_path: Path) -> None:
    record = only_record(
        tmp_path,
        {
            "id": 7,
            "image": ["a.png", "/elsewhere/b.png"],
            "conversations": [
                {"role": "user", "content": "<image> <image>\nHi"},
                {"from": "gpt", "value": "Ho"},
                {"from": "human", "value": "And?"},
                {"role": "assistant", "content": "Yes"},
            ],
            "families": ["greeting", "more"],
            "vision_input": "multi-image",
            "instruction": "General",
            "response": "free-form",
            "data_source": "somewhere",
        },
        image_folder=tmp_path / "images",
    )
    assert record.images == (tmp_path / "images" / "a.png", Path("/elsewhere/b.png"))
    assert [turn.role for turn in record.turns] == ["user", "assistant", "user", "assistant"]
    assert [turn.text for turn in record.turns] == ["<image> <image>\nHi", "Ho", "And?", "Yes"]
    assert (record.id, record.index, record.source) == ("7", 0, str(tmp_path / "records.jsonl"))
    assert record.families == ("greeting", "more") and record.modality == "multi-image"
    assert (record.vision_input, record.instruction, record.response) == ("multi-image", "General", "free-form")


@pytest.mark.parametrize("marker", ["<image>", "<video>"])
def test_a_video_has_one_marker_of_either_name(tmp_path: Path, marker: str) -> None:
    talk = [{"from": "human", "value": f"{marker}\nHi"}, TALK[1]]
    record = only_record(tmp_path, {"video": "clips/a.mp4", "conversations": talk}, video_folder=tmp_path / "v")
    assert record.video == tmp_path / "v" / "clips" / "a.mp4" and record.modality == "video"
    assert record.turns[0].text == "<image>\nHi"


def test_folders_default_to_the_file_s_own(tmp_path: Path) -> None:
    talk = [{"from": "human", "value": "<image>\nHi"}, TALK[1]]
    assert only_record(tmp_path, {"image": "a.png", "conversations": talk}).images == (tmp_path / "a.png",)


def test_null_media_are_none(tmp_path: Path) -> None:
    assert only_record(tmp_path, {"image": None, "video": None, "conversations": TALK}).modality == "text"


def human(text: Any) -> dict[str, Any]:
    return {"from": "human", "value": text}


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({}, "no conversations"),
        ({"conversations": []}, "no conversations"),
        ({"conversations": "hello"}, "not a list"),
        ({"conversations": ["hello"]}, "not a turn"),
        ({"conversations": [human(None), TALK[1]]}, "not a text"),
        ({"conversations": [human(3), TALK[1]]}, "not a text"),
        ({"conversations": [{"value": "Hi"}, TALK[1]]}, "from None"),
        ({"conversations": [{"from": "alien", "value": "Hi"}, TALK[1]]}, "alien"),
        ({"conversations": [{"from": ["human"], "value": "Hi"}, TALK[1]]}, "not from human or gpt"),
        ({"conversations": [TALK[0]]}, "no question with an answer"),
        ({"conversations": [TALK[1]]}, "no question with an answer"),
        ({"conversations": [TALK[1], TALK[1]]}, "no question with an answer"),
        ({"conversations": [*TALK, {"from": "system", "value": "x"}]}, "system turn"),
        ({"conversations": [human("<image>\nHi"), TALK[1]]}, "1 <image> markers for 0 media"),
        ({"conversations": [human("Hi"), {"from": "gpt", "value": "<img> or <image>"}]}, "1 <image> markers for 0"),
        ({"image": "a.png", "conversations": TALK}, "0 <image> markers for 1 media"),
        ({"image": "a.png", "conversations": [human("<image><image>"), TALK[1]]}, "2 <image> markers for 1"),
        ({"image": ["a", "b"], "conversations": [human("<image>"), TALK[1]]}, "1 <image> markers for 2"),
        ({"image": "a.png", "conversations": [human("<image><video>"), TALK[1]]}, "<video> marker, but no video"),
        ({"video": "a.mp4", "conversations": [human("<image>" * 8), TALK[1]]}, "8 <image> markers for 1"),
        ({"video": ["a.mp4", "b.mp4"], "conversations": [human("<image>" * 2), TALK[1]]}, "more than one video"),
        ({"video": "a.mp4", "image": "a.png", "conversations": [human("<image>" * 2), TALK[1]]}, "beside a video"),
        ({"image": "", "conversations": [human("<image>"), TALK[1]]}, "not a path"),
        ({"image": {"path": "a"}, "conversations": [human("<image>"), TALK[1]]}, "not a path"),
        ({"image": [None], "conversations": [human("<image>"), TALK[1]]}, "not a path"),
        ({"image": "a\0b", "conversations": [human("<image>"), TALK[1]]}, "not a path"),
        ({"families": ["a", "b"], "conversations": TALK}, "2 families for 1 answers"),
        ({"families": "a", "conversations": TALK}, "not a list of names"),
        ({"families": [1], "conversations": TALK}, "not a list of names"),
        ({"instruction": 5, "conversations": TALK}, "instruction is 5"),
        ([1, 2], "not a record"),
        ("text", "not a record"),
        (None, "not a record"),
    ],
)
def test_bad_records(tmp_path: Path, record: Any, reason: str) -> None:
    if isinstance(record, dict):
        record = {"id": "me", **record}
    file = RecordFile(write_records(tmp_path / "records.json", [{"conversations": TALK}, record]))
    with pytest.raises(BadRecord, match=reason) as caught:
        file[1]
    assert caught.value.record_id == ("me" if isinstance(record, dict) else "")
    assert file[0].turns[1].text == "Ho"


def test_a_broken_line_is_one_bad_record(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    good = json.dumps({"conversations": TALK}).encode()
    path.write_bytes(good + b'\n{"conversations": [\n' + b"\xff\xfe\n" + b"[" * 100_000 + b"\n" + good)
    file = RecordFile(path)
    assert len(file) == 5 and file[4].turns == file[0].turns
    for index in (1, 2, 3):
        with pytest.raises(BadRecord, match="not valid JSON"):
            file[index]


def test_unknown_keys_are_counted_and_warned_about_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    records = [{"colour": 1, "conversations": TALK}, {"colour": 2, "size": 3, "conversations": TALK}]
    file = RecordFile(write_records(tmp_path / "records.json", records * 5))
    with caplog.at_level(logging.WARNING, logger="ovrun"):
        for index in range(10):
            file[index]
    assert file.unknown_keys == {"colour": 10, "size": 5}
    assert [message.count("colour") for message in caplog.messages] == [1, 0]


@pytest.mark.parametrize("seed", range(20))
def test_word_counts_are_the_released_lengths(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    records = []
    for _ in range(20):
        talk = [{"from": rng.choice(("human", "gpt")), "value": random_text(rng)} for _ in range(rng.randint(1, 5))]
        records.append({"conversations": talk, **rng.choice([{}, {"image": "a.png"}, {"video": "a.mp4"}])})
    file = RecordFile(write_records(tmp_path / "records.json", records))
    for index, record in enumerate(records):
        words = sum(len(turn["value"].split()) for turn in record["conversations"])
        assert file.word_count(index) == (words if "image" in record or "video" in record else -words), f"seed {seed}"


def test_what_is_held_does_not_grow_with_the_records(tmp_path: Path) -> None:
    talk = [{"from": "human", "value": "x" * 2000}, TALK[1]]
    file = RecordFile(write_records(tmp_path / "records.json", [{"conversations": talk}] * 300))
    assert len(pickle.dumps(file)) < 300 * 2 * np.dtype(np.int64).itemsize + 1000
    assert pickle.loads(pickle.dumps(file))[299].turns == file[299].turns
