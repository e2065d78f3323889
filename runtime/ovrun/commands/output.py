"""An answer on stdout as it comes, and what it cost as lines of text."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ovrun.terminal import printable

if TYPE_CHECKING:
    from ovrun.result import Result


def set_encoding(*, json: bool) -> None:
    """JSON is UTF-8 whatever the locale (RFC 8259); of text, a terminal shows what it can."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8" if json else None, errors="strict" if json else "replace")


def print_pieces(pieces: Iterable[str]) -> None:
    """Print the pieces of an answer; its line is ended however they end."""
    on_terminal = sys.stdout.isatty()
    last, finished = "", False
    try:
        for piece in pieces:
            print(printable(piece) if on_terminal else piece, end="", flush=True)
            last = piece
        finished = True
    finally:
        if (last or finished) and not last.endswith("\n"):  # an error before the first piece leaves stdout empty
            print(flush=True)


def format_stats(result: Result) -> str:
    """Token counts, times and memory as lines of text."""
    spent = result.timings_ms
    stages = ", ".join(f"{name} {spent[name]:.0f}" for name in ("load", "decode_image", "tile", "encode", "project"))
    speed = f", {1e3 / spent['per_token']:.1f} tokens/s" if spent["per_token"] else ""
    memory = "" if result.memory_mb is None else f"{result.memory_mb:.0f} MB peak, "
    reused = f", {result.reused_tokens} reused" if result.reused_tokens else ""
    return (
        f"tokens   {result.prompt_tokens} prompt ({result.image_tokens} from {result.tiles} views{reused}),"
        f" {result.completion_tokens} answer, ended by {result.finish_reason}\n"
        f"ms       {stages}, prefill {spent['prefill']:.0f}\n"
        f"         first token {spent['first_token']:.0f}, then {spent['per_token']:.1f} each{speed}\n"
        f"machine  {memory}{result.model.engine}, {result.model.precision}, {result.model.id}\n"
    )
