"""The tokenizer, against transformers' fast tokenizer over the same file."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from ovengines.errors import ExitCode, OVError
from ovrun.prompt.tokenizer import Tokenizer

PIECES = [*"aZ 0\n\t.!é—图🖼️\u0301", "image", "<image>", "<|im_end|>", "<|im_start|>", " the", "<", "|>", "ü", "u\u0308"]


@pytest.mark.parametrize("seed", range(100))
def test_equals_transformers(seed: int, tokenizer: Tokenizer, tokenizer_path: Path) -> None:
    rng = random.Random(seed)
    text = "".join(rng.choice(PIECES) for _ in range(rng.randint(0, 40)))
    theirs = PreTrainedTokenizerFast(tokenizer_file=str(tokenizer_path))
    ids = tokenizer.encode(text)
    assert ids == theirs(text, add_special_tokens=False)["input_ids"], f"seed {seed}: {text!r}"
    for skip in (True, False):
        expected = theirs.decode(ids, skip_special_tokens=skip, clean_up_tokenization_spaces=False)
        assert tokenizer.decode(ids, skip_special_tokens=skip) == expected, f"seed {seed}: {text!r}"


def test_special_tokens_and_ids(tokenizer: Tokenizer) -> None:
    assert sorted(tokenizer.special_tokens.values()) == [
        *("<image>", "<video>", "<|endoftext|>", "<|im_end|>", "<|im_start|>")
    ]
    for id_, token in tokenizer.special_tokens.items():
        assert tokenizer.token_id(token) == id_ and tokenizer.encode(token) == [id_]
    assert tokenizer.token_id("<nothing>") is None


def test_ids_without_a_token_have_no_text(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("red")
    assert tokenizer.decode([99_999, *ids, 10**6, -1]) == "red"


def test_neither_truncates_nor_pads(padded_tokenizer_path: Path, tokenizer: Tokenizer) -> None:
    text = "Describe this image. " * 9
    assert Tokenizer(padded_tokenizer_path).encode(text) == tokenizer.encode(text)


def test_lone_surrogates_are_bad_input(tokenizer: Tokenizer) -> None:
    with pytest.raises(OVError, match="Unicode") as caught:
        tokenizer.encode("caf\udce9")
    assert caught.value.code is ExitCode.BAD_INPUT


@pytest.mark.parametrize("content", [None, b"", b"{}", b"[1]", b"\xff\xfe", b'{"model": {"type": "BPE"}}'])
def test_a_file_that_is_no_tokenizer(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(OVError, match=r"tokenizer\.json") as caught:
        Tokenizer(path)
    assert caught.value.code is ExitCode.BUNDLE_INVALID


def test_a_file_over_the_limit(tokenizer_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OV_MAX_TOKENIZER_BYTES", "100")
    with pytest.raises(OVError, match="tokenizer_bytes") as caught:
        Tokenizer(tokenizer_path)
    assert caught.value.code is ExitCode.LIMIT_EXCEEDED
