"""The tokenizer of ov-tiny, trained once per run of the tests."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer


@pytest.fixture(scope="session")
def tiny_tokenizer() -> Tokenizer:
    from ovexport.train.tiny.tokenizer import train_tokenizer

    return train_tokenizer()
