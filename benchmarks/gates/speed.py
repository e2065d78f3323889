"""How many times faster ours does a piece of work than a peer: medians of the ratios of interleaved rounds.

Both must give what the reference gives before they are timed: all of these raise Disagrees.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.agreement import opened
from benchmarks.gates.gate import Measured
from benchmarks.measure import Spread, Turn, short, spread, take_turns, times_faster
from benchmarks.picture import write_picture
from benchmarks.setting import Setting
from benchmarks.worker import Worker

STEPS = 8  # tokens of a turn of decoding
COPIED_TOKENS, DRAFTED_TOKENS = 96, 10
OURS = "ours int4"
FEWEST = 3  # rounds


def against(setting: Setting, ours: str, peer: str, call: str, rounds: int | None = None, **arguments: Any) -> Measured:
    """The same piece of work by both, which returns milliseconds."""
    with opened(setting, ours) as mine, opened(setting, peer) as theirs:
        turns = {
            ours: lambda: float(mine.ask(call, **arguments)),
            peer: lambda: float(theirs.ask(call, **arguments)),
        }
        return compared(turns, {ours: mine, peer: theirs}, rounds or setting.rounds)


def compared(turns: Mapping[str, Turn], workers: Mapping[str, Worker], rounds: int, more: str = "") -> Measured:
    """Of ours, which is the first of the two, after a round that does not count."""
    rounds = max(FEWEST, rounds)
    found = take_turns(turns, rounds)
    ours, theirs = found.values()
    detail = f"{detail_ms(spread(ours), spread(theirs))}{more}"
    return Measured.of(times_faster(ours, theirs), detail, rounds, versions_of(workers))


def versions_of(workers: Mapping[str, Worker]) -> dict[str, dict[str, str]]:
    return {name: worker.ask("versions") for name, worker in workers.items()}


def detail_ms(ours: Spread, theirs: Spread) -> str:
    return f"{short(ours.median)} ms against {short(theirs.median)} ms"


def encode(setting: Setting, ours: str, peer: str) -> Measured:
    return against(setting, ours, peer, "encode", tiles=1)


def prefill(setting: Setting, peer: str) -> Measured:
    return against(setting, OURS, peer, "prefill", tokens=1000)


def decode(setting: Setting, peer: str, ours: str = OURS) -> Measured:
    return against(setting, ours, peer, "decode", 3 * setting.rounds, context=1000, steps=STEPS)


def copy(setting: Setting, peer: str) -> Measured:
    """Ours with prompt look-up on an answer that copies, the peer token by token."""
    with opened(setting, OURS) as mine, opened(setting, peer) as theirs:
        turns = {
            OURS: lambda: float(mine.ask("copy", context=1000, tokens=COPIED_TOKENS, drafted=DRAFTED_TOKENS)),
            peer: lambda: float(theirs.ask("decode", context=1000, steps=STEPS)),
        }
        return compared(turns, {OURS: mine, peer: theirs}, setting.rounds, " a token")


def context(setting: Setting, long: int, short_one: int = 500) -> Measured:
    """A step over a long context, times what it costs over a short one: large if the cache were copied per step."""
    rounds = max(FEWEST, 2 * setting.rounds)
    with opened(setting, OURS) as mine:
        turns = {
            str(tokens): lambda tokens=tokens: float(mine.ask("decode", context=tokens, steps=STEPS))
            for tokens in (long, short_one)
        }
        found = take_turns(turns, rounds)
        versions = versions_of({OURS: mine})
    slower = times_faster(found[str(short_one)], found[str(long)])
    return Measured.of(slower, detail_ms(spread(found[str(long)]), spread(found[str(short_one)])), rounds, versions)


def first_token(
    setting: Setting, peer: str, ours: str = OURS, size_px: tuple[int, int] = (640, 480), rounds: int = 0
) -> Measured:
    """From a file of so many pixels to the first token; both have read the same number of tokens then."""
    image = str(write_picture(setting.folder / f"picture-{size_px[0]}.png", *size_px))
    with opened(setting, ours) as mine, opened(setting, peer) as theirs:
        ids = mine.ask("prompt_ids", image=image)
        turns = {
            ours: lambda: float(mine.ask("answer", image=image, ids=ids)["first_token"]),
            peer: lambda: float(theirs.ask("answer", image=image, ids=ids)["first_token"]),
        }
        return compared(turns, {ours: mine, peer: theirs}, rounds or setting.rounds // 2, f", {len(ids)} tokens")


def preprocess(setting: Setting, peer: str) -> Measured:
    """A JPEG of 12 megapixels to normalised tiles. Raises ValueError if these differ."""
    image = str(write_picture(setting.folder / "large.jpg", 4000, 3000))
    with setting.worker(OURS) as mine, setting.worker(peer) as theirs:
        largest = float(abs(mine.ask("tiles", image=image) - theirs.ask("tiles", image=image)).max())
        if not largest < 1e-3:
            raise ValueError(f"tiles differ by {largest}")
        turns = {
            OURS: lambda: float(mine.ask("preprocess", image=image)),
            peer: lambda: float(theirs.ask("preprocess", image=image)),
        }
        more = f", largest difference {largest:.1g}"
        return compared(turns, {OURS: mine, peer: theirs}, 3 * setting.rounds, more)
