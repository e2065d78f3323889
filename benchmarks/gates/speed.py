"""How many times faster ours does a piece of work than a peer: medians of the ratios of interleaved rounds."""

from __future__ import annotations

from typing import Any

from benchmarks.gates.gate import Measured
from benchmarks.measure import Spread, short, spread, take_turns, times_faster
from benchmarks.picture import write_picture
from benchmarks.setting import Setting

STEPS = 8  # tokens of a turn of decoding
COPIED_TOKENS, DRAFTED_TOKENS = 96, 10


def against(setting: Setting, ours: str, peer: str, call: str, rounds: int | None = None, **arguments: Any) -> Measured:
    """The same piece of work by both, which returns milliseconds."""
    with setting.worker(ours) as mine, setting.worker(peer) as theirs:
        turns = {
            ours: lambda: float(mine.ask(call, **arguments)),
            peer: lambda: float(theirs.ask(call, **arguments)),
        }
        found = take_turns(turns, rounds or setting.rounds)
    return Measured.of(times_faster(found[ours], found[peer]), detail_ms(spread(found[ours]), spread(found[peer])))


def detail_ms(ours: Spread, theirs: Spread) -> str:
    return f"{short(ours.median)} ms against {short(theirs.median)} ms"


def encode(setting: Setting, ours: str, peer: str) -> Measured:
    return against(setting, ours, peer, "encode", tiles=1)


def prefill(setting: Setting, peer: str) -> Measured:
    return against(setting, "ours int4", peer, "prefill", tokens=1000)


def decode(setting: Setting, peer: str) -> Measured:
    return against(setting, "ours int4", peer, "decode", 3 * setting.rounds, context=1000, steps=STEPS)


def copy(setting: Setting, peer: str) -> Measured:
    """Ours with prompt look-up on an answer that copies, the peer token by token."""
    with setting.worker("ours int4") as mine, setting.worker(peer) as theirs:
        turns = {
            "ours": lambda: float(mine.ask("copy", context=1000, tokens=COPIED_TOKENS, drafted=DRAFTED_TOKENS)),
            "theirs": lambda: float(theirs.ask("decode", context=1000, steps=STEPS)),
        }
        found = take_turns(turns, setting.rounds)
    detail = detail_ms(spread(found["ours"]), spread(found["theirs"]))
    return Measured.of(times_faster(found["ours"], found["theirs"]), f"{detail} a token")


def context(setting: Setting, long: int, short_one: int = 500) -> Measured:
    """A step over a long context, times what it costs over a short one: large if the cache were copied per step."""
    with setting.worker("ours int4") as mine:
        turns = {
            str(tokens): lambda tokens=tokens: float(mine.ask("decode", context=tokens, steps=STEPS))
            for tokens in (long, short_one)
        }
        found = take_turns(turns, 2 * setting.rounds)
    slower = times_faster(found[str(short_one)], found[str(long)])
    return Measured.of(slower, detail_ms(spread(found[str(long)]), spread(found[str(short_one)])))


def first_token(setting: Setting, peer: str) -> Measured:
    """From a file of 640 x 480 pixels to the first token; both have read the same number of tokens then."""
    image = str(write_picture(setting.folder / "picture.png", 640, 480))
    with setting.worker("ours int4") as mine, setting.worker(peer) as theirs:
        ids = mine.ask("prompt_ids", image=image)
        turns = {
            "ours": lambda: float(mine.ask("answer", image=image, ids=ids)["first_token"]),
            "theirs": lambda: float(theirs.ask("answer", image=image, ids=ids)["first_token"]),
        }
        found = take_turns(turns, max(3, setting.rounds // 2), warm_up=0)
    detail = f"{detail_ms(spread(found['ours']), spread(found['theirs']))}, {len(ids)} tokens"
    return Measured.of(times_faster(found["ours"], found["theirs"]), detail)


def preprocess(setting: Setting, peer: str) -> Measured:
    """A JPEG of 12 megapixels to normalised tiles. Raises ValueError if these differ."""
    image = str(write_picture(setting.folder / "large.jpg", 4000, 3000))
    with setting.worker("ours int4") as mine, setting.worker(peer) as theirs:
        largest = float(abs(mine.ask("tiles", image=image) - theirs.ask("tiles", image=image)).max())
        if not largest < 1e-3:
            raise ValueError(f"tiles differ by {largest}")
        turns = {
            "ours": lambda: float(mine.ask("preprocess", image=image)),
            "theirs": lambda: float(theirs.ask("preprocess", image=image)),
        }
        found = take_turns(turns, 3 * setting.rounds)
    detail = f"{detail_ms(spread(found['ours']), spread(found['theirs']))}, largest difference {largest:.1g}"
    return Measured.of(times_faster(found["ours"], found["theirs"]), detail)
