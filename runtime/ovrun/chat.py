"""A conversation: each turn reads only what is new, keys and values of the turns before are kept.

`Chat.messages` is the whole state and may be edited; what is kept of another history is rewound to where the two
part, so the answer is that of a new conversation with the same messages.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, overload

from ovrun.ask import ask_in, split_options
from ovrun.decode.rows import Row
from ovrun.media.clip import VideoSource
from ovrun.media.image import ImageSource
from ovrun.progress import Progress, no_progress
from ovrun.prompt.messages import DEFAULT_SYSTEM, Message, text_message, user_message
from ovrun.question import Known, Question
from ovrun.result import Result, TextStream

if TYPE_CHECKING:
    from ovrun.session import Session


class Chat:
    """Made by `Session.chat`. Options given to `ask` are for that turn alone."""

    def __init__(self, session: Session, system: str | None, options: Mapping[str, Any]) -> None:
        system = DEFAULT_SYSTEM if system is None else system
        self.messages: list[Message] = [text_message("system", system)] if system else []
        self.session, self._options = session, dict(options)
        split_options(options)  # wrong ones are told before the first turn
        self._rows = session.rows()
        self._known: Known = {}

    @overload
    def ask(
        self,
        prompt: str,
        images: Sequence[ImageSource] = ...,
        video: VideoSource | None = ...,
        *,
        stream: Literal[False] = ...,
        on_progress: Progress = ...,
        **options: Any,
    ) -> Result: ...

    @overload
    def ask(
        self,
        prompt: str,
        images: Sequence[ImageSource] = ...,
        video: VideoSource | None = ...,
        *,
        stream: Literal[True],
        on_progress: Progress = ...,
        **options: Any,
    ) -> TextStream: ...

    def ask(
        self,
        prompt: str,
        images: Sequence[ImageSource] = (),
        video: VideoSource | None = None,
        *,
        stream: bool = False,
        on_progress: Progress = no_progress,
        **options: Any,
    ) -> Result | TextStream:
        """The next turn. Its media are those of this turn; earlier ones are remembered.

        An answer that is cut short by closing the stream stays in the history as far as it got, if it got anywhere.
        Raises OVError as `Session.generate`; the history is then as it was before.
        """
        message = with_media(prompt, images, video)
        seeing, decoding = split_options({**self._options, **options})
        ask = ask_in([*self.messages, message], seeing)
        question = self.session.desk.question(ask, decoding, on_progress, self._known)
        row = self.session.row(question, on_progress)
        answer = TextStream(self._answer(question, message, row), partial(self.session.result, question, row))
        return answer if stream else answer.result

    def _answer(self, question: Question, message: Message, row: Row) -> Generator[str, None, Result]:
        try:
            result = yield from self.session.answer(question, row, self._rows)
        except GeneratorExit:  # whoever listened has had enough
            if row.answer.text:
                self._remember(message, row.answer.text)
            raise
        self._remember(message, result.text)
        return result

    def _remember(self, message: Message, text: str) -> None:
        self.messages += [message, text_message("assistant", text)]


def with_media(prompt: str, images: Sequence[ImageSource], video: VideoSource | None) -> Message:
    """A user's turn that carries its media; `<image>` and `<video>` in the prompt are their places, else they go first.

    Raises OVError as `user_message`.
    """
    bare = user_message(prompt, len(images), video is not None)
    sources: dict[str, list[Any]] = {"image": list(images), "video": [] if video is None else [video]}
    content = [
        {"type": part["type"], part["type"]: sources[part["type"]].pop(0)} if part["type"] in sources else part
        for part in bare["content"]
    ]
    return {**bare, "content": content}
