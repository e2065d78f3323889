"""Ids and labels against the released recipe, done again with transformers' tokenizer one message at a time."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from data_oracle import (
    IGNORED,
    encode_turn,
    expanded,
    make_spec,
    random_turns,
    released_chatml,
    save_image,
    token_id,
    tokenizer,
    write_records,
)

from ovexport.train.data.records import BadRecord, RecordFile
from ovexport.train.data.sample import Sample, make_sample

SIZES = ((104, 104), (50, 300), (211, 97))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for number, size in enumerate(SIZES):
        save_image(folder / f"{number}.png", *size, seed=number)
    return folder


def sample_of(talk: list[dict[str, str]], images: list[str], folder: Path, **settings: object) -> Sample:
    record = {"id": "x", "conversations": talk}
    if images:
        record["image"] = images[0] if len(images) == 1 else images
    return make_sample(RecordFile(write_records(folder / "records.json", [record]))[0], make_spec(**settings))


def tokens_per_image(sample: Sample, num_images: int) -> list[int]:
    return [int(sample.visual_S.sum()) // num_images] * num_images if num_images else []


@pytest.mark.parametrize("seed", range(120))
def test_released_labels(pictures: Path, seed: int) -> None:
    rng = random.Random(seed)
    images = [f"{rng.randrange(len(SIZES))}.png" for _ in range(rng.choice((0, 1, 1, 2, 3)))]
    turns = random_turns(rng, len(images))
    if rng.random() < 0.2:
        turns.insert(0, {"from": "gpt", "value": "Hello"})  # dropped, as no question comes before it
    if rng.random() < 0.2:
        turns[-1]["value"] += " QA_GT_caption_based_noisy"
    sample = sample_of(turns, images, pictures)
    ids, labels = expanded(*released_chatml(turns, bool(images)), tokens_per_image(sample, len(images)))
    assert sample.ids_S.tolist() == ids, f"seed {seed}"
    assert sample.labels_S.tolist() == labels, f"seed {seed}"
    assert sample.visual_S.tolist() == [id_ == token_id("<image>") for id_ in ids], f"seed {seed}"
    assert sample.positions_S.tolist() == list(range(len(ids))) and not sample.exchange_S.any()


def test_the_oracle_has_seen_what_is_special(pictures: Path) -> None:
    """Newlines in a row are one token that stays masked; a single one is learned, even behind the image."""
    turns = [{"from": "human", "value": "<image>\nWhat\n\nis"}, {"from": "gpt", "value": "Yes"}]
    sample = sample_of(turns, ["0.png"], pictures)
    newline, newlines = (tokenizer().encode(text).ids for text in ("\n", "\n\n"))
    assert len(newline) == len(newlines) == 1
    behind_image = int(np.flatnonzero(sample.visual_S)[-1]) + 1
    assert sample.labels_S[behind_image] == sample.ids_S[behind_image] == newline[0]
    (place,) = np.flatnonzero(sample.ids_S == newlines[0])
    assert sample.labels_S[place] == IGNORED


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("turns_setting", ["chained", "apart"])
def test_assistant_only_labels_are_the_answers_and_their_ends(pictures: Path, seed: int, turns_setting: str) -> None:
    rng = random.Random(seed)
    images = ["0.png"][: rng.randint(0, 1)]
    turns = random_turns(rng, len(images))
    for turn in turns[1::2]:
        turn["value"] = turn["value"].lstrip("\n")  # else the header's newline and the answer's are one token
    sample = sample_of(turns, images, pictures, labels="assistant-only", turns=turns_setting)
    learned = sample.labels_S[sample.labels_S != IGNORED]
    expected = "".join(turn["value"] + "<|im_end|>" for turn in turns[1::2])
    assert tokenizer().decode(learned.tolist(), skip_special_tokens=False) == expected, f"seed {seed}"
    assert np.array_equal(learned, sample.ids_S[sample.labels_S != IGNORED])


@pytest.mark.parametrize("labels", ["released", "assistant-only"])
@pytest.mark.parametrize("seed", range(40))
def test_an_exchange_apart_is_what_it_is_alone(pictures: Path, seed: int, labels: str) -> None:
    """Each exchange of a record, behind what all share, equals a chained record that has only this exchange."""
    rng = random.Random(seed)
    images = ["0.png", "1.png"][: rng.randint(0, 2)]
    turns = random_turns(rng, len(images), exchanges=rng.randint(1, 4))
    turns[0]["value"] = "<image>" * len(images) + ("\n" if images else "") + turns[0]["value"].replace("<image>", "")
    together = sample_of(turns, images, pictures, labels=labels, turns="apart")
    num_exchanges = len(turns) // 2
    assert together.exchange_S.max() == num_exchanges
    for number in range(1, num_exchanges + 1):
        question, answer = turns[2 * number - 2 : 2 * number]
        if number > 1:
            question = {**question, "value": "<image>" * len(images) + ("\n" if images else "") + question["value"]}
        alone = sample_of([question, answer], images, pictures, labels=labels)
        part = (together.exchange_S == 0) | (together.exchange_S == number)
        assert together.ids_S[part].tolist() == alone.ids_S.tolist(), f"seed {seed}, exchange {number}"
        assert together.positions_S[part].tolist() == alone.positions_S.tolist(), f"seed {seed}, exchange {number}"
        expected = alone.labels_S.copy()
        if number > 1:  # it follows another exchange, so its first id has nothing that it could be told from
            expected[int((together.exchange_S == 0).sum())] = IGNORED
        assert together.labels_S[part].tolist() == expected.tolist(), f"seed {seed}, exchange {number}"


def test_a_records_own_system_turn(pictures: Path) -> None:
    turns = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Ho"}]
    with_system = [{"from": "system", "value": "You are a cat."}, *turns]
    ids = sample_of(with_system, [], pictures).ids_S.tolist()
    assert ids == [
        *encode_turn("system", "You are a cat."),
        *encode_turn("user", "Hi"),
        *encode_turn("assistant", "Ho"),
    ]


@pytest.mark.parametrize("labels", ["released", "assistant-only"])
@pytest.mark.parametrize("turns_setting", ["chained", "apart"])
def test_plain_is_image_caption_newline(pictures: Path, labels: str, turns_setting: str) -> None:
    turns = [{"from": "human", "value": "Say it.\n<image>"}, {"from": "gpt", "value": "a red\n\ncircle "}]
    settings = {"template": "plain", "aspect_ratio": "square", "merge": "flat"}
    sample = sample_of(turns, ["1.png"], pictures, labels=labels, turns=turns_setting, **settings)
    caption = tokenizer().encode("a red\n\ncircle \n").ids
    assert sample.ids_S.tolist() == [token_id("<image>")] * 49 + caption
    assert sample.labels_S.tolist() == [IGNORED] * 49 + caption


@pytest.mark.parametrize(
    ("turns", "images", "settings", "reason"),
    [
        ([("human", "<image>\na"), ("gpt", "b"), ("human", "c"), ("gpt", "d")], 1, {"template": "plain"}, "two turns"),
        ([("human", "a"), ("gpt", "b")], 0, {"template": "plain"}, "one medium"),
        ([("human", "<image> <image>"), ("gpt", "b")], 2, {"template": "plain"}, "one medium"),
        ([("human", "a"), ("gpt", "<image> b")], 1, {"template": "plain"}, "in the answer"),
        (
            [("human", "a"), ("gpt", "b"), ("human", "<image>\nc"), ("gpt", "d")],
            1,
            {"turns": "apart"},
            "first question",
        ),
        ([("human", "a"), ("human", "b"), ("gpt", "c")], 0, {"turns": "apart"}, "take turns"),
        ([("human", "a"), ("gpt", "b\ud800")], 0, {}, "Unicode"),
    ],
)
def test_conversations_that_a_template_cannot_put(
    pictures: Path, turns: list[tuple[str, str]], images: int, settings: dict[str, str], reason: str
) -> None:
    conversation = [{"from": speaker, "value": text} for speaker, text in turns]
    with pytest.raises(BadRecord, match=reason):
        sample_of(conversation, ["0.png", "1.png"][:images], pictures, **settings)
