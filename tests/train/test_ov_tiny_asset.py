"""The shipped ov-tiny: small, loads here and in transformers, and both give the right answers about the examples."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer

from ovexport.checkpoint import load_model, open_checkpoint
from ovexport.embedded import EMBEDDED_MODEL
from ovexport.model import OneVision
from ovexport.train import bpe
from ovexport.train.examples import PICTURES, example_scene, questions
from ovexport.train.heldout import HeldOutSample
from ovexport.train.report import MAX_NEW_TOKENS, answer, held_out_accuracy
from ovexport.train.samples import Chat
from ovexport.train.scenes import draw
from ovexport.train.tiny import tiny_config
from ovrun.tiling.plan import plan_image

EXAMPLES = Path(__file__).parents[2] / "examples"
LARGEST_BYTES = 16 << 20


@pytest.fixture(scope="module")
def model() -> OneVision:
    torch.set_num_threads(1)
    return load_model(open_checkpoint(EMBEDDED_MODEL), torch.float32)


@pytest.fixture(scope="module")
def chat() -> Chat:
    return Chat(Tokenizer.from_file(str(EMBEDDED_MODEL / "tokenizer.json")))


def _examples() -> list[HeldOutSample]:
    rows = json.loads((EXAMPLES / "questions.json").read_text(encoding="utf-8"))
    return [
        HeldOutSample(
            image=Image.open(EXAMPLES / row["picture"]).convert("RGB"),
            question=row["question"],
            answer=row["answer"],
            family=row["picture"],
        )
        for row in rows
    ]


def test_it_fits_the_repository_and_is_what_the_trainer_makes() -> None:
    assert sum(file.stat().st_size for file in EMBEDDED_MODEL.iterdir()) <= LARGEST_BYTES
    shipped = open_checkpoint(EMBEDDED_MODEL)
    assert shipped.config == tiny_config(bpe.train_tokenizer().get_vocab())


def test_examples_are_held_out_and_drawn_by_this_code() -> None:
    for file in PICTURES:
        scene = example_scene(file)
        assert scene.is_held_out
        with Image.open(EXAMPLES / file) as stored:
            assert stored.convert("RGB").tobytes() == draw(scene).tobytes(), file
    stored_rows = json.loads((EXAMPLES / "questions.json").read_text(encoding="utf-8"))
    assert stored_rows == [row for file in PICTURES for row in questions(file)]


def test_every_example_is_answered_right(model: OneVision, chat: Chat) -> None:
    wrong = [(s.family, s.question, given) for s in _examples() if (given := answer(model, chat, s)) != s.answer]
    assert not wrong


def test_it_answers_held_out_scenes(model: OneVision, chat: Chat) -> None:
    """A floor well under the accuracy that the README states: this catches a broken asset, not a bad day."""
    assert held_out_accuracy(model, chat, 60, seed=1)["all"] >= 0.8


def test_transformers_gives_the_same_right_answers(chat: Chat) -> None:
    transformers = pytest.importorskip("transformers")
    theirs = transformers.LlavaOnevisionForConditionalGeneration.from_pretrained(EMBEDDED_MODEL, dtype=torch.float32)
    processor = transformers.AutoImageProcessor.from_pretrained(EMBEDDED_MODEL, use_fast=False)
    tokenizer = transformers.AutoTokenizer.from_pretrained(EMBEDDED_MODEL)
    geometry = open_checkpoint(EMBEDDED_MODEL).config.geometry
    for sample in _examples():
        inputs = processor(sample.image, return_tensors="pt")
        turns = [
            {"role": "system", "content": bpe.SYSTEM_PROMPT},
            {"role": "user", "content": f"<image>\n{sample.question}"},
        ]
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        num_visual = plan_image(sample.image.height, sample.image.width, geometry).num_tokens
        ids = tokenizer(text.replace("<image>", "<image>" * num_visual), return_tensors="pt").input_ids
        assert ids[0].tolist() == chat.prompt(sample.question, num_visual)
        out = theirs.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            pixel_values=inputs["pixel_values"],
            image_sizes=inputs["image_sizes"],
            max_new_tokens=MAX_NEW_TOKENS,
            do_sample=False,
        )
        given = tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)
        assert given == sample.answer, (sample.family, sample.question)
