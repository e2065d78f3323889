"""What the tests of training data compare with: the released recipe again, by transformers' tokenizer and processor.

Conversations here are LLaVA's dicts, so that nothing of the code under test takes part.
"""

from __future__ import annotations

import json
import random
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import LlavaOnevisionImageProcessorPil

from ovengines.bundle.manifest import Geometry
from ovexport.train.data.spec import SampleSpec, training_geometry

SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>", "<video>")
SYSTEM = "You are a helpful assistant."
CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
)
# How Qwen2 cuts text before it merges: newlines in a row become one token, which the label mask depends on.
QWEN_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
WORDS = (
    "What",
    "is",
    "the",
    "red",
    "circle?",
    "Yes",
    "B",
    "42",
    "naïve",
    "图片",
    "of",
    "code:\n\n\tx = 1",
    "🙂",
    "a\nb",
)
IGNORED = -100


@cache
def tokenizer() -> Tokenizer:
    """A small byte-level BPE that cuts as Qwen2's does, with merged newlines and the specials at its end."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN_SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    made.decoder = decoders.ByteLevel()
    rng = random.Random(0)
    lines = [" ".join(rng.choices(WORDS, k=9)) + "\n\n" + "system user assistant\n" for _ in range(300)]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(lines, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False))
    made.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIALS])
    return made


@cache
def hf_tokenizer() -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer(), chat_template=CHATML)


def token_id(token: str) -> int:
    found = tokenizer().token_to_id(token)
    assert found is not None
    return found


def tiny_geometry(pinpoints: tuple[tuple[int, int], ...] = ((104, 104),)) -> Geometry:
    return Geometry(
        image_size_px=104, patch_size_px=14, grid_pinpoints=pinpoints, max_tiles=9, unpad_rounding="hf"
    )  # fmt: skip


def make_spec(**settings: Any) -> SampleSpec:
    """The released settings of stage 2, on tiles of 104 px."""
    aspect_ratio = settings.get("aspect_ratio", "anyres_max_9")
    grids = [(rows, columns) for rows in range(1, 7) for columns in range(1, 7)]
    geometry = training_geometry(tiny_geometry(), aspect_ratio, grids)
    defaults = {
        "tokenizer": tokenizer(),
        "image_token_id": token_id("<image>"),
        "video_token_id": token_id("<video>"),
        "geometry": geometry,
    }
    return SampleSpec(**{**defaults, **settings})


def processor(geometry: Geometry) -> LlavaOnevisionImageProcessorPil:
    return LlavaOnevisionImageProcessorPil(
        image_mean=list(geometry.image_mean),
        image_std=list(geometry.image_std),
        size={"height": geometry.image_size_px, "width": geometry.image_size_px},
        image_grid_pinpoints=[list(pair) for pair in geometry.grid_pinpoints],
    )


def encode_turn(role: str, text: str) -> list[int]:
    message = [{"role": role, "content": text}]
    ids = hf_tokenizer().apply_chat_template(message, tokenize=True, return_dict=False)
    return [int(id_) for id_ in ids]


def released_chatml(turns: list[dict[str, str]], has_media: bool) -> tuple[list[int], list[int]]:
    """Ids with the image token once per medium, and labels, as the released code makes them of a LLaVA record."""
    names = {"human": "user", "gpt": "assistant"}
    if turns[0]["from"] != "human":
        turns = turns[1:]
    ids = encode_turn("system", SYSTEM)
    labels = [IGNORED] * len(ids)
    for turn in turns:
        text = turn["value"]
        if has_media and text.count("<image>") == 1 and text.find("<image>") > 0:
            text = ("<image>\n" + "".join(text.split("<image>")).strip()).strip()
        if has_media:
            text = "".join(text.split("QA_GT_caption_based_noisy"))
        of_turn = encode_turn(names[turn["from"]], text)
        ids += of_turn
        labels += of_turn if turn["from"] == "gpt" else [IGNORED] * len(of_turn)
    everywhere = {token_id("<|im_start|>"), token_id("<|im_end|>"), *hf_tokenizer()("\n").input_ids}
    labels = [id_ if id_ in everywhere else label for id_, label in zip(ids, labels, strict=True)]
    return ids, [IGNORED if id_ == token_id("<image>") else label for id_, label in zip(ids, labels, strict=True)]


def expanded(
    ids: list[int], labels: list[int], counts: list[int], visual_id: int | None = None
) -> tuple[list[int], list[int]]:
    """Every image token repeated as often as its medium has visual tokens."""
    left = list(counts)
    out_ids: list[int] = []
    out_labels: list[int] = []
    for id_, label in zip(ids, labels, strict=True):
        is_medium = id_ == token_id("<image>")
        times = left.pop(0) if is_medium else 1
        out_ids += [visual_id if is_medium and visual_id is not None else id_] * times
        out_labels += [label] * times
    assert not left
    return out_ids, out_labels


def random_text(rng: random.Random) -> str:
    separators = (" ", " ", " ", "\n", "\n\n", "  ", " \n\n ")
    return "".join(word + rng.choice(separators) for word in rng.choices(WORDS, k=rng.randint(1, 8)))


def random_turns(rng: random.Random, markers: int, exchanges: int | None = None) -> list[dict[str, str]]:
    """A LLaVA conversation with its markers at all kinds of places of its first question."""
    turns = []
    for _ in range(exchanges or rng.randint(1, 4)):
        turns += [{"from": "human", "value": random_text(rng)}, {"from": "gpt", "value": random_text(rng)}]
    text = turns[0]["value"]
    if markers == 1:
        turns[0]["value"] = rng.choice(
            ["<image>\n" + text, text + "\n<image>", f"Look: <image> {text}", "<image>" + text]
        )
    elif markers > 1:
        turns[0]["value"] = rng.choice([" ".join(["<image>"] * markers) + "\n" + text, "A: <image> " * markers + text])
    return turns


def save_image(path: Path, height_px: int, width_px: int, seed: int) -> Image.Image:
    pixels_HWC = np.random.default_rng(seed).integers(0, 256, (height_px, width_px, 3), dtype=np.uint8)
    image = Image.fromarray(pixels_HWC)
    image.save(path)
    return image


def write_records(path: Path, records: list[Any]) -> Path:
    lines = [json.dumps(record) for record in records]
    path.write_text("\n".join(lines) + "\n" if path.suffix == ".jsonl" else "[" + ",\n".join(lines) + "]")
    return path
