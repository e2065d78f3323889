"""Text to token ids and back, by a checkpoint's `tokenizer.json`.

Knows the tokenizers package and nothing of conversations or images.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import tokenizers

from ovengines.errors import ExitCode, OVError
from ovrun.limits import check_limit


class Tokenizer:
    """A tokenizer that adds nothing of its own: no beginning, no padding, no truncation."""

    def __init__(self, path: str | Path) -> None:
        """Raises OVError: BUNDLE_INVALID if the file is missing or no tokenizer, LIMIT_EXCEEDED for its size."""
        try:
            check_limit("tokenizer_bytes", Path(path).stat().st_size, "tokenizer.json has")
            self._tokenizer = tokenizers.Tokenizer.from_file(str(path))
        except OVError:
            raise
        except Exception as err:  # the package raises bare Exception for a file that it cannot read
            raise OVError(
                ExitCode.BUNDLE_INVALID, f"{path} is not a tokenizer: {err}", "build or copy the bundle again"
            ) from err
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        added = self._tokenizer.get_added_tokens_decoder()
        self.special_tokens: dict[int, str] = {id_: token.content for id_, token in added.items() if token.special}

    def encode(self, text: str) -> list[int]:
        """The ids of the text; special tokens written in it become their ids. Raises OVError (BAD_INPUT)."""
        try:
            ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        except (UnicodeError, TypeError) as err:  # a lone surrogate, as a shell makes of bytes that are not UTF-8
            raise OVError(ExitCode.BAD_INPUT, "the text is not valid Unicode", "give the text as UTF-8") from err
        return ids

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """The text of the ids. An id without a token (checkpoints pad their vocabulary) has no text."""
        known = [int(id_) for id_ in ids if id_ >= 0]
        text: str = self._tokenizer.decode(known, skip_special_tokens=skip_special_tokens)
        return text

    def token_id(self, token: str) -> int | None:
        """The id of exactly this token, if there is one."""
        found: int | None = self._tokenizer.token_to_id(token)
        return found
