"""The tokenizer of ov-tiny: survives any text, keeps the specials whole, and its ids are the runtime's."""

from __future__ import annotations

import random
from importlib import resources
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from ovexport.checkpoint.chat_template import builtin_template
from ovexport.train import bpe
from ovexport.train.questions import QA
from ovexport.train.samples import Chat
from ovrun.prompt.compose import encode_conversation
from ovrun.prompt.messages import conversation, text_message, user_message
from ovrun.prompt.tokenizer import Tokenizer as RuntimeTokenizer


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return bpe.train_tokenizer()


@pytest.mark.parametrize("seed", range(50))
def test_any_unicode_survives(tokenizer: Tokenizer, seed: int) -> None:
    rng = random.Random(seed)
    planes = ((0x20, 0x7F), (0xA0, 0x24F), (0x370, 0x5FF), (0x4E00, 0x9FFF), (0x1F300, 0x1FAFF))
    text = "".join(chr(rng.randint(*rng.choice(planes))) for _ in range(rng.randint(1, 60)))
    assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) == text, f"seed {seed}"


def test_specials_are_single_ids_inside_the_padded_table(tokenizer: Tokenizer) -> None:
    for special in bpe.SPECIALS:
        assert tokenizer.encode(f"a{special}b").tokens[1] == special
    assert tokenizer.get_vocab_size() <= bpe.PADDED_VOCABULARY
    assert bpe.PADDED_VOCABULARY % 32 == 0


def test_words_of_the_scenes_are_single_tokens(tokenizer: Tokenizer) -> None:
    for word in (" red", " triangles", " diamond", " centre", " bottom", "Purple", "Zero"):
        assert len(tokenizer.encode(word).ids) == 1, word


def test_training_again_gives_the_shipped_tokenizer(tokenizer: Tokenizer) -> None:
    shipped = resources.files("ovexport") / "assets" / "ov-tiny" / "tokenizer.json"
    assert Tokenizer.from_str(shipped.read_text(encoding="utf-8")).get_vocab() == tokenizer.get_vocab()


@pytest.mark.parametrize("system", ["", bpe.SYSTEM_PROMPT])
def test_training_and_runtime_agree_on_the_ids(tokenizer: Tokenizer, tmp_path: Path, system: str) -> None:
    path = tmp_path / "tokenizer.json"
    tokenizer.save(str(path))
    chat, runtime = Chat(tokenizer), RuntimeTokenizer(path)
    template = builtin_template(has_video_token=True)
    asked = encode_conversation(conversation("Where is the star?", 1, system=system), template, runtime)
    assert chat.prompt("Where is the star?", 1, system) == asked

    qas = [
        QA(family="where", question="Where is the star?", answer="Top left"),
        QA(family="shape", question="What is the red thing?", answer="Star"),
    ]
    turns = [text_message("system", system)] if system else []
    for number, qa in enumerate(qas):
        turns += [user_message(qa.question, 1 - number), text_message("assistant", qa.answer)]
    opening = chat.opening(1, system)
    ids, labels = chat.supervised(qas)
    assert opening + ids == encode_conversation(turns, template, runtime, add_generation_prompt=False)
    learned = [id_ for id_, label in zip(ids, labels, strict=True) if label == id_]
    assert chat.tokenizer.decode(learned, skip_special_tokens=False) == "Top left<|im_end|>Star<|im_end|>"
