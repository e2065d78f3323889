"""What a misspelt name may have been meant to be."""

from __future__ import annotations

import difflib
from collections.abc import Sequence


def did_you_mean(word: str, names: Sequence[str]) -> str:
    """A hint: the name most like `word`, if any, and all of them."""
    similar = difflib.get_close_matches(word, names, n=1) or difflib.get_close_matches(
        word.replace("-", "_"), names, n=1
    )
    return (f"did you mean {similar[0]}? " if similar else "") + f"there are {', '.join(names)}"
