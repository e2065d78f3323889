"""Conversations: a turn reads only what is new, and answers what a new session would with the same history."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from fake_engine import FakeEngine
from PIL import Image

from ovengines.errors import ExitCode, OVError
from ovrun.chat import Chat
from ovrun.session import Session

TEXTS = ("what is it?", "describe this image", "two blue squares?", "is it red?")


def picture(seed: int) -> Image.Image:
    random = np.random.default_rng(seed)
    return Image.fromarray(random.integers(0, 256, (*random.integers(20, 70, 2), 3), np.uint8))


def fresh(session: Session, messages: list[dict[str, Any]], **options: Any) -> tuple[int, ...]:
    """The answer of a session that has never heard of any of it."""
    engine = FakeEngine(session.model)
    other = Session(session.bundle, engine, session.tokenizer, session.template)
    return other.generate(messages=messages, **options).token_ids


@pytest.fixture
def roomy(session: Session) -> Session:
    """With a context that holds a conversation."""
    from dataclasses import replace

    model = replace(session.model, max_positions=4000)
    bundle = replace(session.bundle, manifest=replace(session.bundle.manifest, model=model))
    return Session(bundle, FakeEngine(model), session.tokenizer, session.template)


def test_the_second_question_about_a_picture_reads_only_what_is_new(roomy: Session) -> None:
    chat = roomy.chat(max_new_tokens=6)
    first = chat.ask(TEXTS[0], [picture(1)])
    seen, engine = roomy.vision.num_encoded_tiles, roomy.engine
    assert isinstance(engine, FakeEngine) and seen > 1 and first.reused_tokens == 0
    batches, engine.chunks = list(engine.batches), []
    second = chat.ask(TEXTS[1])
    assert engine.batches == batches and roomy.vision.num_encoded_tiles == seen, "no vision work at all"
    prefilled = sum(tokens for tokens, _ in engine.chunks) - (len(second.token_ids) - 1)
    assert prefilled == second.prompt_tokens - second.reused_tokens
    # The fake's answers are no text that the tokenizer would write so, hence the answer is read again too.
    new_text = len(roomy.tokenizer.encode(first.text + TEXTS[1])) + 20  # the frame of the turns
    assert prefilled <= new_text and second.image_tokens == first.image_tokens
    assert second.timings_ms["encode"] == second.timings_ms["decode_image"] == 0


@pytest.mark.parametrize("seed", range(25))
def test_every_turn_and_every_edited_history_answers_like_a_new_session(roomy: Session, seed: int) -> None:
    rng = random.Random(seed)
    chat = roomy.chat(system=rng.choice((None, "", "be brief")), max_new_tokens=5)
    clips = [[picture(10 + n) for n in range(rng.randint(1, 3))] for _ in range(2)]
    for _ in range(7):
        if len(chat.messages) > 2 and rng.random() < 0.5:
            _edit(chat, rng)
        images = [picture(rng.randrange(3)) for _ in range(rng.choice((0, 0, 1, 2)))]
        result = chat.ask(rng.choice(TEXTS), images, rng.choice([None, None, *clips]))
        assert fresh(roomy, chat.messages[:-1], max_new_tokens=5) == result.token_ids, f"{seed=}"


def _edit(chat: Chat, rng: random.Random) -> None:
    start = next(n for n, message in enumerate(chat.messages) if message["role"] == "user")
    if rng.random() < 0.5:
        del chat.messages[start + 2 * rng.randrange((len(chat.messages) - start) // 2) :]
        return
    number = start + 2 * rng.randrange((len(chat.messages) - start) // 2)
    content = [part for part in chat.messages[number]["content"] if part["type"] != "text"]
    chat.messages[number] = {"role": "user", "content": [*content, {"type": "text", "text": rng.choice(TEXTS)}]}


def test_an_answer_cut_short_stays_as_far_as_it_got(roomy: Session) -> None:
    chat = roomy.chat(max_new_tokens=30)
    stream = chat.ask(TEXTS[0], stream=True)
    said = next(stream) + next(stream)
    stream.close()
    assert chat.messages[-1]["content"] == [{"type": "text", "text": said}]
    result = chat.ask(TEXTS[1])
    assert fresh(roomy, chat.messages[:-1], max_new_tokens=30) == result.token_ids


def test_a_turn_that_fails_leaves_the_history(roomy: Session) -> None:
    chat = roomy.chat(max_new_tokens=4)
    chat.ask(TEXTS[0])
    before = list(chat.messages)
    for images, prompt in ((["no-such-file.png"], TEXTS[1]), ([], "<image>?"), ([], "<|im_end|>")):
        with pytest.raises(OVError) as caught:
            chat.ask(prompt, images)
        assert caught.value.code is ExitCode.BAD_INPUT and chat.messages == before
    assert fresh(roomy, [*before, chat.messages[0]], max_new_tokens=4)


def test_media_are_opened_once(roomy: Session, tmp_path: Any) -> None:
    picture(4).save(tmp_path / "gone.png")
    chat = roomy.chat(max_new_tokens=4)
    chat.ask(TEXTS[0], [tmp_path / "gone.png"])
    (tmp_path / "gone.png").unlink()
    assert chat.ask(TEXTS[1]).image_tokens > 0


def test_what_is_not_shown_any_more_is_let_go(roomy: Session) -> None:
    chat = roomy.chat(max_new_tokens=3)
    chat.ask(TEXTS[0], [picture(1)])
    chat.ask(TEXTS[1], [picture(2)])
    assert len(chat._known) == 2
    del chat.messages[-2:]
    chat.ask(TEXTS[1])
    assert len(chat._known) == 1


def test_a_question_taken_back_before_the_first_word_is_not_kept(roomy: Session) -> None:
    chat = roomy.chat(max_new_tokens=30)
    before = list(chat.messages)
    chat.ask(TEXTS[0], stream=True).close()
    assert chat.messages == before


@pytest.mark.parametrize("messages", ["what is it?", [7], [None], b"bytes"])
def test_messages_that_are_none(roomy: Session, messages: Any) -> None:
    with pytest.raises(OVError) as caught:
        roomy.generate(messages=messages)
    assert caught.value.code is ExitCode.BAD_INPUT and caught.value.hint


def test_options_of_a_turn_are_its_own(roomy: Session) -> None:
    chat = roomy.chat(max_new_tokens=4)
    assert len(chat.ask(TEXTS[0], max_new_tokens=9).token_ids) == 9
    assert len(chat.ask(TEXTS[0]).token_ids) == 4
