"""Training samples of ov-tiny: a scene and a conversation about it become tiles, a token plan, ids and labels.

Tiles and plans are the runtime's own (`ovrun.tiling`); ids follow the ChatML of the shipped template. A batch is a pure
function of its seed and settings, so a run can stop and go on. Knows no model.

Legend: N tiles, C channels, H and W pixels, B images, Q ends of conversations, S positions.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from tokenizers import Tokenizer

from ovengines.bundle.manifest import Geometry
from ovexport.model.onevision import IGNORE_LABEL
from ovexport.train.bpe import END_OF_TEXT, IMAGE, SYSTEM_PROMPT, TURN_END, TURN_START
from ovexport.train.questions import QA, conversation
from ovexport.train.scenes import draw, scenes
from ovrun.tiling.plan import TokenPlan, concat, plan_image
from ovrun.tiling.tiles import tile_image

_NO_SYSTEM_SHARE = 0.2
_CONVERSATION_SHARE = 0.2
# Drawn more often, for more often there is no single answer: without this a colour is asked half as often as a number.
_FAMILIES = ("shape", "shape", "colour", "colour", "colour", "where", "where", "count", "yes/no")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Ends of conversations, padded on the right; row i goes on where prompt `prompt_Q[i]` of the batch stops."""

    prompt_Q: torch.Tensor
    ids_QS: torch.Tensor
    labels_QS: torch.Tensor


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Prompts of one length, up to and with the image; one plan over all tiles; several questions about each image."""

    prompts_BS: torch.Tensor
    pixels_NCHW: torch.Tensor
    plan: TokenPlan
    asked: tuple[Asked, ...]


class Chat:
    """Ids of ChatML conversations; equal to what the shipped template renders and the tokenizer makes of it."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        vocabulary = tokenizer.get_vocab()
        self.image_id, self.pad_id = vocabulary[IMAGE], vocabulary[END_OF_TEXT]

    def encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def prompt(self, question: str, num_visual: int, system: str = SYSTEM_PROMPT) -> list[int]:
        """The first question about one image, up to where the answer starts."""
        return self.opening(num_visual, system) + self.encode(f"\n{question}") + self._answer_starts()

    def opening(self, num_visual: int, system: str) -> list[int]:
        """Everything up to the last visual token."""
        return self._system(system) + self.encode(f"{TURN_START}user\n") + [self.image_id] * num_visual

    def supervised(self, qas: Sequence[QA]) -> tuple[list[int], list[int]]:
        """Ids and labels of what follows the opening; only answers and the ends of their turns are learned."""
        ids: list[int] = []
        labels: list[int] = []
        for number, qa in enumerate(qas):
            question = self.encode(f"{TURN_START}user\n{qa.question}") if number else self.encode(f"\n{qa.question}")
            question = question + self._answer_starts()
            answer = self.encode(f"{qa.answer}{TURN_END}")
            ids += question + answer + self.encode("\n")
            labels += [IGNORE_LABEL] * len(question) + answer + [IGNORE_LABEL]
        return ids, labels

    def _answer_starts(self) -> list[int]:
        return self.encode(f"{TURN_END}\n{TURN_START}assistant\n")

    def _system(self, system: str) -> list[int]:
        return self.encode(f"{TURN_START}system\n{system}{TURN_END}\n") if system else []


def make_batch(
    chat: Chat, geometry: Geometry, seed: str, *, count: int, size: str, max_things: int, turns: int
) -> Batch:
    """`count` scenes of one size, none of them held out, and `turns` questions about each.

    In one batch of five they are the turns of one conversation. In the others each is asked as if it were the first,
    or the answers could be read off the description above them.
    """
    rng = random.Random(f"talk {seed}")
    picked = scenes(seed, held_out=False, size=size, max_things=max_things, same_size=True)
    drawn = [scene for _, scene in islice(picked, count)]
    plan = plan_image(drawn[0].height_px, drawn[0].width_px, geometry)
    opening = chat.opening(plan.num_tokens, "" if rng.random() < _NO_SYSTEM_SHARE else SYSTEM_PROMPT)
    talks = [conversation(scene, rng, turns, _FAMILIES) for scene in drawn]
    if rng.random() < _CONVERSATION_SHARE:
        groups = [[(number, talk) for number, talk in enumerate(talks)]]
    else:
        single = [(number, [qa]) for number, talk in enumerate(talks) for qa in talk]
        groups = [[row for row in single if (row[1][0].family == "describe") == long] for long in (False, True)]
    return Batch(
        prompts_BS=torch.tensor([opening] * count),
        pixels_NCHW=torch.from_numpy(np.concatenate([tile_image(draw(scene), geometry) for scene in drawn])),
        plan=concat([plan] * count),
        asked=tuple(_asked(chat, group) for group in groups if group),
    )


def _asked(chat: Chat, group: list[tuple[int, list[QA]]]) -> Asked:
    rows = [chat.supervised(qas) for _, qas in group]
    return Asked(
        prompt_Q=torch.tensor([number for number, _ in group]),
        ids_QS=_padded((ids for ids, _ in rows), chat.pad_id),
        labels_QS=_padded((labels for _, labels in rows), IGNORE_LABEL),
    )


def _padded(rows: Iterable[list[int]], fill: int) -> torch.Tensor:
    return torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=fill)
