"""Tokenizers made from vocab.json and merges.txt against transformers' Qwen2Tokenizer; the id of `<image>`."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from tiny_checkpoint import (
    IMAGE_ID,
    SPECIALS,
    VIDEO_ID,
    change_json,
    write_hf,
    write_json,
    write_llava,
    write_vocab_files,
)
from tokenizers import Tokenizer
from transformers import AddedToken, Qwen2TokenizerFast

from ovengines.errors import OVError
from ovexport.checkpoint import open_checkpoint
from ovexport.checkpoint.tokenizer import load_tokenizer, place_token

PIECES = [
    *"abcdeABCDE éñüçß123 .,!?'\"\n\r\t-_/\\<>|{}[]",
    *("don't", "I'LL", "we've", "  ", "\n\n", " \n ", "\r\n", "e\u0301", "n\u0303", "１２", "½", "Ⅷ"),
    *(
        "日本語",
        "한국어",
        "العربية",
        "हिन्दी",
        "😀",
        "👨\u200d👩\u200d👧",
        "\u00a0",
        "\u2003",
        "\u200b",
        "\x00",
        "\x7f",
        "ﬁ",
        "Å",
    ),
    *SPECIALS,
    "<image>",
    "<|im_end",
]


def random_text(rng: random.Random) -> str:
    return "".join(rng.choice(PIECES) for _ in range(rng.randint(0, 30)))


def qwen2_oracle(folder: Path) -> Qwen2TokenizerFast:
    oracle = Qwen2TokenizerFast.from_pretrained(folder)
    oracle.add_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIALS])
    assert {token: oracle.convert_tokens_to_ids(token) for token in SPECIALS} == SPECIALS
    return oracle


@pytest.mark.parametrize("seed", range(5))
def test_vocab_and_merges_make_qwen2s_tokenizer(tmp_path: Path, seed: int) -> None:
    write_vocab_files(tmp_path)
    tokenizer, oracle, rng = load_tokenizer(tmp_path), qwen2_oracle(tmp_path), random.Random(seed)
    for _ in range(200):
        text = random_text(rng)
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        assert ids == oracle.encode(text, add_special_tokens=False), f"seed {seed}, {text!r}"
        assert tokenizer.decode(ids) == oracle.decode(ids, skip_special_tokens=True), f"seed {seed}, {text!r}"


def test_added_tokens_of_tokenizer_config(tmp_path: Path) -> None:
    """As in Qwen2's folders: ids are keys, flags are kept, and the file wins over added_tokens.json."""
    write_vocab_files(tmp_path)
    (tmp_path / "added_tokens.json").unlink()
    entries = {str(i): {"content": token, "special": True, "normalized": False} for token, i in SPECIALS.items()}
    entries["303"] = {"content": "plain", "special": False, "normalized": False, "lstrip": True}
    write_json(tmp_path / "tokenizer_config.json", {"added_tokens_decoder": entries})
    tokenizer = load_tokenizer(tmp_path)
    assert {token: tokenizer.token_to_id(token) for token in SPECIALS} == SPECIALS
    assert tokenizer.encode("a   plain", add_special_tokens=False).ids[-1] == 303
    assert tokenizer.decode([303, 302]) == "plain"


def test_llava_next_gets_its_image_token(tmp_path: Path) -> None:
    write_llava(tmp_path, 0)
    with open_checkpoint(tmp_path) as checkpoint:
        tokenizer = Tokenizer.from_str(checkpoint.tokenizer_json.decode())
    assert tokenizer.token_to_id("<image>") == IMAGE_ID
    assert tokenizer.encode("<image>\nabc").ids[0] == IMAGE_ID and tokenizer.decode([IMAGE_ID]) == ""


def test_llava_next_without_image_token_index_takes_the_next_id(tmp_path: Path) -> None:
    write_llava(tmp_path, 0)
    for value in (None, -200):
        change_json(tmp_path / "config.json", image_token_index=value)
        with open_checkpoint(tmp_path) as checkpoint:
            assert checkpoint.config.image_token_id == IMAGE_ID


def test_gaps_are_filled_so_that_ids_line_up(tmp_path: Path) -> None:
    write_vocab_files(tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    assert place_token(tokenizer, "<image>", 310) == 310
    assert place_token(tokenizer, "<image>", None) == 310
    assert tokenizer.token_to_id("<|im_end|>") == SPECIALS["<|im_end|>"]
    assert tokenizer.get_vocab_size(with_added_tokens=True) == 311
    assert Tokenizer.from_str(tokenizer.to_str()).token_to_id("<image>") == 310


@pytest.mark.parametrize("wanted", [0, 302, 304 + 5000, -1])
def test_ids_that_cannot_be(tmp_path: Path, wanted: int) -> None:
    write_vocab_files(tmp_path)
    with pytest.raises(OVError, match=f"should have id {wanted}"):
        place_token(load_tokenizer(tmp_path), "<image>", wanted)


def test_another_id_than_config_json_says(tmp_path: Path) -> None:
    write_hf(tmp_path, 0)
    change_json(tmp_path / "config.json", video_token_index=IMAGE_ID)
    with pytest.raises(OVError, match=f"<video> has id {VIDEO_ID} in the tokenizer, but {IMAGE_ID}"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("missing", ["vocab.json", "merges.txt"])
def test_neither_form(tmp_path: Path, missing: str) -> None:
    write_vocab_files(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(OVError, match=missing):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("line", ["a", "a b c", " b", "a zzz9"])
def test_merges_that_are_none(tmp_path: Path, line: str) -> None:
    write_vocab_files(tmp_path)
    with (tmp_path / "merges.txt").open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    with pytest.raises(OVError, match=r"merges\.txt"):
        load_tokenizer(tmp_path)


def test_added_tokens_that_do_not_line_up(tmp_path: Path) -> None:
    write_vocab_files(tmp_path)
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<|im_end|>": 305}))
    with pytest.raises(OVError, match="should have id 305"):
        load_tokenizer(tmp_path)


def test_tokenizer_larger_than_the_table(tmp_path: Path) -> None:
    write_hf(tmp_path, 0)
    tokenizer = load_tokenizer(tmp_path)
    tokenizer.add_tokens([f"more{i}" for i in range(40)])
    (tmp_path / "tokenizer.json").write_text(tokenizer.to_str())
    with pytest.raises(OVError, match="330 rows"):
        open_checkpoint(tmp_path)
