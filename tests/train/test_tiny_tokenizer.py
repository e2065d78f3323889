"""The tokenizer of ov-tiny: any text survives, text is cut as Qwen2 cuts it, and what must be spelled is spelled."""

from __future__ import annotations

import os
import random
import subprocess
import sys

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

from ovexport.train.drawn.codes import random_codes
from ovexport.train.drawn.kinds import KINDS, MULTI_IMAGE, SINGLE_IMAGE, VIDEO
from ovexport.train.tiny.tokenizer import LEARNED_VOCABULARY, PADDED_VOCABULARY, SPECIALS

TEXTS = st.lists(st.one_of(st.text(), st.sampled_from([*SPECIALS, "Answer", " red", "\r\n", "12", "KOB"]))).map("".join)


@settings(max_examples=300, deadline=None)
@given(text=TEXTS)
def test_any_text_survives(tiny_tokenizer: Tokenizer, text: str) -> None:
    assert tiny_tokenizer.decode(tiny_tokenizer.encode(text).ids, skip_special_tokens=False) == text


@settings(max_examples=300, deadline=None)
@given(text=st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=("Cs", "Cn"))))  # younger ones are disputed
def test_text_is_cut_as_qwen2_cuts_it(tiny_tokenizer: Tokenizer, text: str) -> None:
    """And no token reaches across a cut."""
    pieces = regex.findall(PRETOKENIZE_REGEX, text)
    cuts = [(sum(map(len, pieces[:i])), sum(map(len, pieces[: i + 1]))) for i in range(len(pieces))]
    assert [span for _, span in tiny_tokenizer.pre_tokenizer.pre_tokenize_str(text)] == cuts
    for start, end in tiny_tokenizer.encode(text).offsets:
        assert any(first <= start and end <= last for first, last in cuts)


@settings(max_examples=200, deadline=None)
@given(text=st.from_regex(r"[a-z ]{0,3}[0-9]{1,9}[a-z+= ]{0,3}", fullmatch=True))
def test_every_digit_is_a_token(tiny_tokenizer: Tokenizer, text: str) -> None:
    tokens = tiny_tokenizer.encode(text).tokens
    assert [token for token in tokens if any(map(str.isdecimal, token))] == [char for char in text if char.isdecimal()]


@pytest.mark.parametrize("held_out", [False, True])
def test_codes_are_spelled(tiny_tokenizer: Tokenizer, held_out: bool) -> None:
    """Letter by letter, alone and within a sentence: a code that was never seen is no harder than another."""
    for code in random_codes(random.Random(0), 80, held_out=held_out):
        for text in (code, f"The code is {code}.", f"It says {code} on the left and {code} at the top."):
            spelled = [token.lstrip("Ġ") for token in tiny_tokenizer.encode(text).tokens]
            assert "".join(spelled).count(code) == text.count(code)
            assert [char for char in spelled if char in code and char] == list(code) * text.count(code), (code, spelled)


def test_specials_are_single_ids_behind_the_learned_ones(tiny_tokenizer: Tokenizer) -> None:
    for number, special in enumerate(SPECIALS):
        encoded = tiny_tokenizer.encode(f"a{special}b")
        assert encoded.tokens[1] == special and encoded.ids[1] == LEARNED_VOCABULARY + number
        assert tiny_tokenizer.decode(encoded.ids) == "ab"
    assert tiny_tokenizer.get_vocab_size() == LEARNED_VOCABULARY + len(SPECIALS) <= PADDED_VOCABULARY


def test_what_is_said_of_pictures_is_short(tiny_tokenizer: Tokenizer) -> None:
    """About a token per word and sign, or every answer would be a spelling."""
    for name in (*SINGLE_IMAGE, *MULTI_IMAGE, *VIDEO):
        rng = random.Random(f"said {name}")
        text = "\n".join(KINDS[name].draw(rng, held_out=True).caption for _ in range(40))
        words = regex.findall(r"\p{L}+|\p{N}|[.,+-]|\n", regex.sub(r"[A-Z]{2,}", "", text))
        tokens = tiny_tokenizer.encode(regex.sub(r"[A-Z]{2,}", "", text)).ids
        assert len(tokens) <= 1.25 * len(words), name


def test_training_again_gives_the_same(tiny_tokenizer: Tokenizer) -> None:
    """In another process, whose hashes differ."""
    code = "from ovexport.train.tiny.tokenizer import train_tokenizer; print(train_tokenizer().to_str())"
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    again = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
    assert again.stdout == tiny_tokenizer.to_str() + "\n"
