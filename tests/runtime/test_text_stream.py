"""Incremental detokenising and stop strings against decoding or searching everything at once."""

from __future__ import annotations

import time

import numpy as np
import pytest
from fake_engine import SPECIALS, make_tokenizer

from ovrun.decode.stream import REPLACEMENT, Detokenizer, StopFilter

ALPHABET = "ab é ß Ω Я 漢字 あ 한 😀 👩‍👩‍👧 🇩🇪 e\u0301 \u200d \n\t"
TOKENIZER = make_tokenizer()


def _decode(ids: list[int]) -> str:
    return TOKENIZER.decode(list(ids), skip_special_tokens=True)


def _pieces(ids: list[int]) -> list[str]:
    detokenizer = Detokenizer(_decode)
    return [*(detokenizer.push(id_) for id_ in ids), detokenizer.finish()]


@pytest.mark.parametrize("seed", range(60))
def test_text_arrives_whole_and_without_replacement_characters(seed: int) -> None:
    random = np.random.default_rng(seed)
    text = "".join(random.choice(list(ALPHABET), size=int(random.integers(1, 60))))
    ids = TOKENIZER.encode(text).ids
    pieces = _pieces(ids)
    assert "".join(pieces) == _decode(ids) == text, f"{seed=}"
    assert not any(REPLACEMENT in piece for piece in pieces), f"{seed=}"
    assert any(len(TOKENIZER.encode(char).ids) > 1 for char in "😀漢")  # so that the test means something


@pytest.mark.parametrize("seed", range(200))
def test_any_tokens_give_what_decoding_them_at_once_gives(seed: int) -> None:
    random = np.random.default_rng(1000 + seed)
    broken_bytes = [i for i in range(TOKENIZER.get_vocab_size()) if REPLACEMENT in _decode([i])]
    pool = broken_bytes if seed % 2 else list(range(TOKENIZER.get_vocab_size()))
    ids = random.choice(pool, size=int(random.integers(0, 300))).tolist()
    assert "".join(_pieces(ids)) == _decode(ids), f"{seed=}"


def test_a_character_is_given_out_with_its_last_token() -> None:
    ids = TOKENIZER.encode("x😀y").ids
    pieces = _pieces(ids)
    assert pieces[0] == "x" and pieces[-2] == "y" and pieces[-1] == ""
    assert [piece for piece in pieces if piece] == ["x", "😀", "y"]


def test_a_replacement_character_that_is_really_there_comes_through() -> None:
    for text in (REPLACEMENT, f"a{REPLACEMENT}b", f"a{REPLACEMENT}"):
        assert "".join(_pieces(TOKENIZER.encode(text).ids)) == text


def test_an_unfinished_character_at_the_end_is_one_replacement() -> None:
    ids = TOKENIZER.encode("ok😀").ids[:-1]
    assert "".join(_pieces(ids)) == "ok" + REPLACEMENT


def test_special_tokens_inside_a_character_change_nothing() -> None:
    ids = TOKENIZER.encode("漢").ids
    assert len(ids) > 1
    inside = [ids[0], SPECIALS.index("<|im_end|>"), *ids[1:]]
    assert "".join(_pieces(inside)) == "漢"


def test_endless_broken_bytes_do_not_become_slower() -> None:
    lone_byte = next(i for i in range(TOKENIZER.get_vocab_size()) if _decode([i]) == REPLACEMENT)
    calls: list[int] = []

    def counting(ids: list[int]) -> str:
        calls.append(len(ids))
        return _decode(ids)

    detokenizer = Detokenizer(counting)
    start_s = time.perf_counter()
    text = "".join(detokenizer.push(lone_byte) for _ in range(2000)) + detokenizer.finish()
    assert text == REPLACEMENT * 2000
    assert max(calls) <= 70 and time.perf_counter() - start_s < 10


@pytest.mark.parametrize("seed", range(20))
def test_endless_broken_bytes_between_tokens_without_text(seed: int) -> None:
    random = np.random.default_rng(seed)
    lone_byte = next(i for i in range(TOKENIZER.get_vocab_size()) if _decode([i]) == REPLACEMENT)
    ids: list[int] = []
    while len(ids) < 300:
        ids += [lone_byte] * int(random.integers(1, 70)) + [SPECIALS.index("<|im_end|>")] * int(random.integers(0, 8))
    assert "".join(_pieces(ids)) == _decode(ids), f"{seed=}"


def _expected(text: str, stops: list[str]) -> tuple[str, bool]:
    """Character by character: the first moment at which the text ends with a stop string."""
    for end in range(1, len(text) + 1):
        if starts := [end - len(stop) for stop in stops if text[:end].endswith(stop)]:
            return text[: min(starts)], True
    return text, False


@pytest.mark.parametrize("seed", range(400))
def test_stop_strings_cut_where_a_search_of_the_whole_text_cuts(seed: int) -> None:
    random = np.random.default_rng(seed)
    text = "".join(random.choice(list("ab漢"), size=int(random.integers(0, 40))))
    stops = [
        "".join(random.choice(list("ab漢"), size=int(random.integers(1, 6)))) for _ in range(random.integers(0, 4))
    ]
    stop_filter, given, start = StopFilter(stops), "", 0
    expected, stopped = _expected(text, stops)
    while start < len(text):
        length = int(random.integers(0, 5))
        given += stop_filter.push(text[start : start + length])
        assert expected.startswith(given), f"{seed=}: gave out what is not part of the answer"
        start += length
    given += stop_filter.finish()
    assert (given, stop_filter.stopped) == (expected, stopped), f"{seed=} {text=} {stops=}"


def test_only_a_possible_beginning_is_held_back() -> None:
    stop_filter = StopFilter(["END"])
    assert [stop_filter.push(piece) for piece in ("The E", "N", "emy", " EN")] == ["The ", "", "ENemy", " "]
    assert stop_filter.finish() == "EN" and stop_filter.finish() == ""
