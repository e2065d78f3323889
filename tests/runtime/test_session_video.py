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

from ovengines.bundle.manifest import Geometry
from ovengines.errors import ExitCode, OVError
from ovrun import Session
from ovrun.stopwatch import Stopwatch
from ovrun.tiling.plan import count_image_tokens, plan_image
from ovrun.tiling.tiles import pad_image, tile_image

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


def ask_transformers(
    pair: Pair, images: list[Image.Image], videos: list[list[Image.Image]], text: str
) -> tuple[list[int], np.ndarray]:
    """The answer of transformers to a conversation written out, in which each medium is marked once, and its visual
    tokens of the images.

    Frames become pixels here, by Pillow; an image's are those of the runtime, tested elsewhere. Videos of one
    conversation have as many frames each: transformers wants them so.
    """
    import torch
    from tiny_oracle import pooled

    model = pair.session.model
    geometry = model.geometry
    inputs: dict[str, torch.Tensor] = {}
    if videos:
        inputs["pixel_values_videos"] = torch.from_numpy(np.stack([_frames(video, geometry) for video in videos]))
    if images:
        tiles = [tile_image(images[0], geometry)] if len(images) == 1 else [pad_image(i, geometry) for i in images]
        inputs["pixel_values"] = torch.from_numpy(np.stack(tiles))
        inputs["image_sizes"] = torch.tensor([[image.height, image.width] for image in images])
        inputs["batch_num_images"] = torch.tensor([len(images)])
    counts = {
        model.image_token_id: _image_tokens(images, geometry),
        model.video_token_id: _video_tokens(videos, geometry),
    }
    repeats = {id_: iter(each) for id_, each in counts.items()}
    marked = pair.session.tokenizer.encode(text)
    ids = [id_ for id_ in marked for _ in range(next(repeats[id_]) if id_ in repeats else 1)]
    ids_1S = torch.tensor([ids])
    features_TD = np.zeros((0, model.hidden), np.float32)
    with torch.no_grad():
        if images:
            of_images = {name: value for name, value in inputs.items() if name != "pixel_values_videos"}
            features_TD = pooled(pair.oracle.model.get_image_features(**of_images)).numpy()
        generated = pair.oracle.generate(
            input_ids=ids_1S,
            attention_mask=torch.ones_like(ids_1S),
            **inputs,
            max_new_tokens=NEW_TOKENS,
            do_sample=False,
            eos_token_id=list(model.eos_token_ids),
            pad_token_id=model.pad_token_id,
        )
    return generated[0, len(ids) :].tolist(), features_TD


def _frames(video: list[Image.Image], geometry: Geometry) -> np.ndarray:
    side_px = geometry.image_size_px
    resized = [frame.resize((side_px, side_px), Image.Resampling.BICUBIC) for frame in video]
    pixels_FCHW = np.stack([np.asarray(frame) for frame in resized]).transpose(0, 3, 1, 2).astype(np.float32) / 255
    return (pixels_FCHW - np.float32(0.5)) / np.float32(0.5)


def _image_tokens(images: list[Image.Image], geometry: Geometry) -> list[int]:
    if len(images) == 1:
        return [plan_image(images[0].height, images[0].width, geometry).num_tokens]
    return [geometry.patches_per_side**2 + 1] * len(images)


def _video_tokens(videos: list[list[Image.Image]], geometry: Geometry) -> list[int]:
    pooled_side = math.ceil(geometry.patches_per_side / 2)
    return [len(video) * pooled_side**2 + 1 for video in videos]


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
    expected, _ = ask_transformers(both, [], [video], written(f"<video>\n{QUESTION}"))
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
    expected, _ = ask_transformers(both, [image], [video], written(user))
    got = both.session.generate(prompt=user, images=[image], video=video, max_new_tokens=NEW_TOKENS)
    assert list(got.token_ids) == expected, f"seed {seed}, {image.size} px, {len(video)} frames"
    if seed < 3:
        unmarked = both.session.generate(prompt=QUESTION, images=[image], video=video, max_new_tokens=NEW_TOKENS)
        assert unmarked.token_ids == got.token_ids


@pytest.mark.parametrize("seed", range(24))
def test_conversations_answer_as_transformers(seed: int, pair: Callable[[int], Pair]) -> None:
    """Several turns with several images and videos, anywhere in the text."""
    both, rng = pair(MODELS[seed % len(MODELS)]), random.Random(seed)
    numbers, frames = np.random.default_rng([9, seed]), rng.randint(1, 4)
    images: list[Image.Image] = []
    videos: list[list[Image.Image]] = []
    messages: list[dict[str, Any]] = [{"role": "system", "content": "You are a helpful assistant."}]
    text = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    for turn in range(rng.randint(1, 3)):
        if turn:
            messages.append({"role": "assistant", "content": "Two blue squares."})
            text += "<|im_start|>assistant\nTwo blue squares.<|im_end|>\n"
        kinds = [rng.choice(("image", "image", "video")) for _ in range(rng.choice((0, 2, 3)) if turn else 2)]
        content: list[dict[str, Any]] = [{"type": "text", "text": "Look:"}]
        said = "Look:"
        for kind in kinds:
            if kind == "image":
                images.append(noise(numbers, rng.randint(5, 120), rng.randint(5, 120)))
                content.append({"type": "image", "image": images[-1]})
            else:
                videos.append(clip(100 * seed + len(videos), frames))
                content.append({"type": "video", "video": videos[-1]})
            content.append({"type": "text", "text": " and then "})
            said += f"<{kind}> and then "
        messages.append({"role": "user", "content": [*content, {"type": "text", "text": QUESTION}]})
        text += f"<|im_start|>user\n{said}{QUESTION}<|im_end|>\n"
    expected, features_TD = ask_transformers(both, images, videos, text + "<|im_start|>assistant\n")
    got = both.session.generate(messages=messages, max_new_tokens=NEW_TOKENS)
    assert list(got.token_ids) == expected, f"{seed=}, {len(images)} images, {len(videos)} videos of {frames} frames"
    sights = [both.session.vision.image(i, both.session.model.geometry, alone=len(images) == 1) for i in images]
    if sights:
        np.testing.assert_allclose(both.session.vision.tokens(sights, Stopwatch()), features_TD, atol=1e-4, rtol=1e-4)
    assert got.image_tokens == sum(_image_tokens(images, both.session.model.geometry)) * bool(images) + sum(
        _video_tokens(videos, both.session.model.geometry)
    )


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
    "video",
    [
        "no-such-clip.mp4",
        Path("no-such-clip.mp4"),
        b"\x00\x00",
        np.zeros((2, 9, 9, 3), np.uint8),
        [],
        ["none.png"],
        [7],
    ],
    ids=lambda video: str(type(video).__name__),
)
def test_refusals(session: Session, video: Any) -> None:
    with pytest.raises(OVError) as caught:
        session.generate(prompt=QUESTION, video=video)
    assert caught.value.code is ExitCode.BAD_INPUT and caught.value.hint


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
