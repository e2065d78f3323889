"""Questions about a video: counts and refusals on the fake engine, answers against transformers on random models.

Axes: F frames, C channels, H W pixels, S positions of the prompt.
"""

from __future__ import annotations

import dataclasses
import math
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ovengines.errors import ExitCode, OVError
from ovrun import Session
from ovrun.tiling.plan import count_image_tokens, plan_image
from ovrun.tiling.tiles import tile_image

for area in ("model", "checkpoint"):
    sys.path.append(str(Path(__file__).resolve().parent.parent / area))

NEW_TOKENS = 6
QUESTION = "Which one moves, and où?"
MODELS = (1, 2, 5)  # seeds; tiles of 28/4, 28/4 and 30/7 px


def noise(rng: np.random.Generator, height_px: int, width_px: int) -> Image.Image:
    return Image.fromarray(rng.integers(0, 256, (height_px, width_px, 3), dtype=np.uint8))


def clip(seed: int, frames: int) -> list[Image.Image]:
    """Frames of one size; some seeds have equal ones, which are encoded once."""
    rng = np.random.default_rng(seed)
    height_px, width_px = rng.integers(5, 90, 2)
    drawn = [noise(rng, height_px, width_px) for _ in range(frames)]
    return [drawn[i // 2] for i in range(frames)] if seed % 3 == 0 else drawn


@dataclass(frozen=True, kw_only=True, eq=False)
class Pair:
    """The same random weights in transformers and in a bundle of fp32."""

    oracle: Any
    session: Session


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Pair]:
    from tiny_checkpoint import checkpoint_config, write_hf

    from ovexport.build import build_bundle
    from ovexport.checkpoint import open_checkpoint
    from ovexport.checkpoint.chat_template import builtin_template
    from ovexport.plan import plan_build
    from ovexport.progress import Bars

    @cache
    def make(seed: int) -> Pair:
        folder = tmp_path_factory.mktemp(f"video-{seed}")
        drawn = checkpoint_config(seed, sides=2, tied=False)
        language = dataclasses.replace(drawn.language, hidden=64, num_heads=4, num_kv_heads=2, head_dim=16)
        oracle = write_hf(folder / "checkpoint", seed, config=dataclasses.replace(drawn, language=language))
        (folder / "checkpoint" / "chat_template.jinja").write_text(builtin_template(has_video_token=True))
        with open_checkpoint(folder / "checkpoint") as checkpoint:
            plan = plan_build(checkpoint, "fp32", "ort")
            target = folder / "bundle"
            build_bundle(checkpoint, plan, target, verify="off", force=False, bars=Bars(quiet=True))
        return Pair(oracle=oracle, session=Session.open(target, threads=1))

    return make


def ask_transformers(pair: Pair, images: list[Image.Image], video: list[Image.Image], text: str) -> list[int]:
    """The answer of transformers to a conversation written out, in which each medium is marked once.

    Frames become pixels here, by Pillow; an image's are those of the runtime, tested elsewhere.
    """
    import torch

    model = pair.session.model
    side_px = model.geometry.image_size_px
    resized = [frame.resize((side_px, side_px), Image.Resampling.BICUBIC) for frame in video]
    pixels_FCHW = np.stack([np.asarray(frame) for frame in resized]).transpose(0, 3, 1, 2).astype(np.float32) / 255
    inputs = {"pixel_values_videos": torch.from_numpy((pixels_FCHW - 0.5) / 0.5)[None]}
    if images:
        inputs["pixel_values"] = torch.from_numpy(tile_image(images[0], model.geometry))[None]
        inputs["image_sizes"] = torch.tensor([[images[0].height, images[0].width]])
    pooled = math.ceil(model.geometry.patches_per_side / 2)
    repeats = {
        model.video_token_id: len(video) * pooled * pooled + 1,
        model.image_token_id: plan_image(images[0].height, images[0].width, model.geometry).num_tokens if images else 0,
    }
    ids = [id_ for id_ in pair.session.tokenizer.encode(text) for _ in range(repeats.get(id_, 1))]
    ids_1S = torch.tensor([ids])
    generated = pair.oracle.generate(
        input_ids=ids_1S,
        attention_mask=torch.ones_like(ids_1S),
        **inputs,
        max_new_tokens=NEW_TOKENS,
        do_sample=False,
        eos_token_id=list(model.eos_token_ids),
        pad_token_id=model.pad_token_id,
    )
    return generated[0, len(ids) :].tolist()


def written(user: str) -> str:
    """The conversation as training writes it."""
    return (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        f"<|im_start|>user\n{user}<|im_end|>\n<|im_start|>assistant\n"
    )


@pytest.mark.parametrize("seed", range(9))
def test_video_answers_as_transformers(seed: int, pair: Callable[[int], Pair]) -> None:
    both = pair(MODELS[seed % len(MODELS)])
    video = clip(seed, random.Random(seed).randint(1, 7))
    expected = ask_transformers(both, [], video, written(f"<video>\n{QUESTION}"))
    got = both.session.generate(prompt=QUESTION, video=video, max_new_tokens=NEW_TOKENS)
    assert list(got.token_ids) == expected, f"seed {seed}, {len(video)} frames"
    marked = both.session.generate(prompt=f"<video>\n{QUESTION}", video=video, max_new_tokens=NEW_TOKENS)
    assert marked.token_ids == got.token_ids


@pytest.mark.parametrize("seed", range(9))
def test_image_and_video_answer_as_transformers(seed: int, pair: Callable[[int], Pair]) -> None:
    """Also with the video before the image, whose rows then come second in the ids but first in the embeddings."""
    both, rng = pair(MODELS[seed % len(MODELS)]), random.Random(seed)
    image = noise(np.random.default_rng([seed]), rng.randint(5, 120), rng.randint(5, 120))
    video = clip(seed, rng.randint(1, 5))
    user = ("<image>\n<video>\n{}", "<video> then <image>: {}", "{} <image> <video>")[seed // 3].format(QUESTION)
    expected = ask_transformers(both, [image], video, written(user))
    got = both.session.generate(prompt=user, images=[image], video=video, max_new_tokens=NEW_TOKENS)
    assert list(got.token_ids) == expected, f"seed {seed}, {image.size} px, {len(video)} frames"
    if seed < 3:
        unmarked = both.session.generate(prompt=QUESTION, images=[image], video=video, max_new_tokens=NEW_TOKENS)
        assert unmarked.token_ids == got.token_ids


def test_answers_depend_on_the_frames_and_their_order(pair: Callable[[int], Pair]) -> None:
    """Guards the comparisons above: random models have to see what they are shown."""
    session = pair(MODELS[0]).session
    videos = [clip(1, 4), clip(2, 4), clip(1, 4)[::-1], clip(1, 3)]
    answers = [session.generate(prompt=QUESTION, video=video, max_new_tokens=NEW_TOKENS).token_ids for video in videos]
    assert len(set(answers)) == len(answers)


@pytest.mark.parametrize("frames", [1, 3, 8])
def test_counts(session: Session, picture: Image.Image, frames: int) -> None:
    """Two patches a side become one; the newline comes once."""
    video = [picture.resize((20 + i, 30)) for i in range(frames)]
    result = session.generate(prompt=QUESTION, video=video, max_new_tokens=2)
    assert (result.tiles, result.image_tokens) == (frames, frames + 1)
    mixed = session.generate(prompt=QUESTION, images=[picture], video=video, max_new_tokens=2)
    alone = count_image_tokens(picture.height, picture.width, session.model.geometry)
    assert (mixed.tiles, mixed.image_tokens) == (7 + frames, alone + frames + 1)
    several = session.generate(prompt=QUESTION, images=[picture] * 2, video=video, max_new_tokens=2)
    assert (several.tiles, several.image_tokens) == (2 + frames, 10 + frames + 1)


def test_frames_come_from_anywhere(session: Session, picture: Image.Image, tmp_path: Path) -> None:
    picture.save(tmp_path / "frame.png")
    forms = (picture, np.asarray(picture), tmp_path / "frame.png", (tmp_path / "frame.png").read_bytes())
    answers = {session.generate(prompt=QUESTION, video=[form, form], max_new_tokens=9).token_ids for form in forms}
    assert len(answers) == 1


@pytest.mark.parametrize(
    ("video", "code"),
    [
        ("clip.mp4", ExitCode.USAGE),
        (Path("clip.mp4"), ExitCode.USAGE),
        (b"\x00\x00", ExitCode.USAGE),
        (np.zeros((2, 9, 9, 3), np.uint8), ExitCode.USAGE),
        ([], ExitCode.BAD_INPUT),
        (["no-such-frame.png"], ExitCode.BAD_INPUT),
        ([7], ExitCode.BAD_INPUT),
    ],
    ids=str,
)
def test_refusals(session: Session, video: Any, code: ExitCode) -> None:
    with pytest.raises(OVError) as caught:
        session.generate(prompt=QUESTION, video=video)
    assert caught.value.code is code and caught.value.hint


def test_markers_and_limits(session: Session, picture: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    for prompt in ("<video> and <video>?", "<image>?"):
        with pytest.raises(OVError) as caught:
            session.generate(prompt=prompt, video=[picture])
        assert caught.value.code is ExitCode.BAD_INPUT
    monkeypatch.setenv("OV_MAX_FRAMES", "2")
    session.generate(prompt=QUESTION, video=[picture] * 2, max_new_tokens=1)
    with pytest.raises(OVError) as caught:
        session.generate(prompt=QUESTION, video=[picture] * 3)
    assert caught.value.code is ExitCode.LIMIT_EXCEEDED and "OV_MAX_FRAMES" in caught.value.hint


def test_tiles_of_a_video_can_not_be_capped(session: Session, picture: Image.Image) -> None:
    free = session.generate(prompt=QUESTION, video=[picture], max_new_tokens=9)
    capped = session.generate(prompt=QUESTION, video=[picture], max_new_tokens=9, max_tiles=1)
    assert capped.token_ids == free.token_ids and "without effect" in capped.warnings[0]
