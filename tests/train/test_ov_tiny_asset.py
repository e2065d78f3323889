"""The shipped ov-tiny: small, made by the trainer, right about the examples (in transformers, too), and measured."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer

from ovexport.checkpoint import open_checkpoint
from ovexport.embedded import EMBEDDED_MODEL
from ovexport.evaluate.answerer import Answerer, How
from ovexport.evaluate.ask import Said, ask_all
from ovexport.evaluate.drawn import drawn_suite
from ovexport.evaluate.examples import example_suite
from ovexport.evaluate.question import Question, Suite
from ovexport.evaluate.tally import count
from ovexport.evaluate.targets import open_answerer
from ovexport.train.drawn.examples import MAX_NEW_TOKENS, QUESTIONS
from ovexport.train.drawn.kinds import KINDS
from ovexport.train.tiny.config import tiny_config
from ovexport.train.tiny.ship import HELD_OUT
from ovrun.prompt.messages import DEFAULT_SYSTEM
from ovrun.tiling.plan import plan_image

FOLDER = Path(__file__).parents[2] / "examples"
LARGEST_BYTES = 16 << 20
PER_FAMILY = 8
SPREAD = 3  # standard errors that a small sample may lie below the table


@pytest.fixture(scope="module")
def answerer() -> Iterator[Answerer]:
    torch.set_num_threads(1)
    opened = open_answerer(str(EMBEDDED_MODEL), How(threads=1))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def examples() -> Suite:
    return example_suite(FOLDER / QUESTIONS)


def test_it_fits_the_repository_and_is_what_the_trainer_makes(tiny_tokenizer: Tokenizer) -> None:
    assert sum(file.stat().st_size for file in EMBEDDED_MODEL.iterdir()) <= LARGEST_BYTES
    with open_checkpoint(EMBEDDED_MODEL) as shipped:
        assert shipped.config == tiny_config(tiny_tokenizer.get_vocab())
        assert Tokenizer.from_str(shipped.tokenizer_json.decode()).to_str() == tiny_tokenizer.to_str()


def test_every_example_is_answered_right(answerer: Answerer, examples: Suite) -> None:
    column = ask_all("ov-tiny", answerer, examples.questions, max_new_tokens=MAX_NEW_TOKENS)
    wrong = [
        (question.id, question.prompt, said)
        for question, said in zip(examples.questions, column.answers, strict=True)
        if not (isinstance(said, Said) and said.score == 1)
    ]
    assert not wrong


def test_held_out_questions_are_answered_as_the_shipped_table_says(answerer: Answerer) -> None:
    """Of other drawings than the table's: this catches a broken asset and a table of another one, not a bad day."""
    told = json.loads((EMBEDDED_MODEL / HELD_OUT).read_text(encoding="utf-8"))["families"]
    assert told.keys() == {family.name for kind in KINDS.values() for family in kind.families} | {"all"}
    suite = drawn_suite(KINDS, PER_FAMILY, seed=1)
    column = ask_all("ov-tiny", answerer, suite.questions, max_new_tokens=MAX_NEW_TOKENS)
    tally = count(suite, [column])
    for row in tally.families:
        error = math.sqrt(told[row.name] * (1 - told[row.name]) / PER_FAMILY)
        assert row.shares[0].accuracy >= told[row.name] - SPREAD * error - 1 / PER_FAMILY, row
    assert tally.all.shares[0].accuracy >= told["all"] - 0.05


def test_transformers_gives_the_same_right_answers(examples: Suite) -> None:
    transformers = pytest.importorskip("transformers")
    theirs = transformers.LlavaOnevisionForConditionalGeneration.from_pretrained(EMBEDDED_MODEL, dtype=torch.float32)
    processor = transformers.AutoImageProcessor.from_pretrained(EMBEDDED_MODEL, use_fast=False)
    tokenizer = transformers.AutoTokenizer.from_pretrained(EMBEDDED_MODEL)
    geometry = open_checkpoint(EMBEDDED_MODEL).config.geometry

    def ask(question: Question, image: Image.Image) -> str:
        inputs = processor(image, return_tensors="pt")
        turns = [
            {"role": "system", "content": DEFAULT_SYSTEM},
            {"role": "user", "content": f"<image>\n{question.prompt}"},
        ]
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        num_visual = plan_image(image.height, image.width, geometry).num_tokens
        ids = tokenizer(text.replace("<image>", "<image>" * num_visual), return_tensors="pt").input_ids
        out = theirs.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            pixel_values=inputs["pixel_values"],
            image_sizes=inputs["image_sizes"],
            max_new_tokens=MAX_NEW_TOKENS,
            do_sample=False,
        )
        return str(tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True))

    alone = [question for question in examples.questions if len(question.images) == 1]
    assert len({question.id for question in alone}) > 5
    for question in alone:
        with Image.open(question.images[0]) as picture:
            assert ask(question, picture.convert("RGB")) == question.answers[0], (question.id, question.prompt)
