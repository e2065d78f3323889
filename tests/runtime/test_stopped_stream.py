"""A stream that is stopped: what was said so far as a result, in a session, a chat and a watch."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from ovrun.session import Session
from ovrun.watch import Watch

QUESTION = "what is shown?"


def picture(number: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(number).integers(0, 256, (30, 40, 3), np.uint8))


@pytest.mark.parametrize("num_pieces", [0, 1, 4])
def test_what_was_said_is_the_result(session: Session, num_pieces: int) -> None:
    asked = {"prompt": QUESTION, "images": [picture()], "max_new_tokens": 20}
    whole = session.generate(**asked)
    stream = session.generate(**asked, stream=True)
    said = "".join(next(stream) for _ in range(num_pieces))
    result = stream.stop()
    assert (result.finish_reason, result.text) == ("interrupted", said) and stream.result is result
    assert result.token_ids == whole.token_ids[: len(result.token_ids)]
    assert session.generate(**asked).token_ids == whole.token_ids


def test_an_answer_that_is_at_its_end_is_whole(session: Session) -> None:
    stream = session.generate(prompt=QUESTION, max_new_tokens=5, stream=True)
    whole = stream.result
    assert stream.stop() is whole and whole.finish_reason == "length"


def test_a_chat_remembers_what_was_said(session: Session) -> None:
    chat = session.chat(max_new_tokens=20)
    stream = chat.ask(QUESTION, [picture()], stream=True)
    said = next(stream)
    assert stream.stop().text == said and chat.messages[-1]["content"][0]["text"] == said


def test_a_watch_takes_frames_one_by_one(session: Session) -> None:
    frames = [picture(number) for number in range(7)]
    right = list(session.watch(frames, QUESTION, window=3, every=2, max_new_tokens=4))
    watch = Watch(session, QUESTION, 3, 2, {"max_new_tokens": 4})
    streams = [watch.push(frame) for frame in frames[:1]]
    assert streams == [None]
    told = [stream.result for frame in frames[1:] if (stream := watch.push(frame)) is not None]
    assert [result.token_ids for result in told] == [result.token_ids for result in right]
