"""PyTorch and a bundle asked the same: the same token ids in fp32, whatever the media and wherever they stand."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ovengines.errors import ExitCode, OVError
from ovexport.evaluate.answerer import Answerer, How
from ovexport.evaluate.targets import column_names, open_answerer

MODELS = (1, 2, 4)
NEW_TOKENS = 6
QUESTION = "abc déf 12?"

Models = Callable[[int], tuple[Path, Path]]


def noise(rng: random.Random, longest_px: int) -> Image.Image:
    size = (rng.randint(1, longest_px), rng.randint(1, longest_px), 3)
    return Image.fromarray(np.random.default_rng(rng.getrandbits(32)).integers(0, 256, size, dtype=np.uint8))


def both(models: Models, seed: int, how: How = How(threads=1)) -> tuple[Answerer, Answerer]:  # noqa: B008
    checkpoint, bundle = models(seed)
    return open_answerer(str(checkpoint), how), open_answerer(str(bundle), how)


# Numbers of images and frames, and the prompt.
CASES = (
    (0, 0, QUESTION),
    (1, 0, QUESTION),
    (1, 0, f"{QUESTION} <image>"),
    (2, 0, f"<image> <image>\n{QUESTION}"),
    (3, 0, f"<image> a <image> b <image> {QUESTION}"),
    (0, 1, QUESTION),
    (0, 5, f"<video>\n{QUESTION}"),
    (1, 3, f"<image> <video> {QUESTION}"),
    (1, 3, f"<video> <image> {QUESTION}"),
    (2, 2, f"<image> <video> <image> {QUESTION}"),
)


@pytest.mark.parametrize("seed", MODELS)
def test_same_ids(seed: int, random_models: Models) -> None:
    torch_side, bundle_side = both(random_models, seed)
    answers = set()
    for number, (num_images, num_frames, prompt) in enumerate(CASES):
        rng = random.Random(f"{seed} {number}")
        images, frames = [noise(rng, 90) for _ in range(num_images)], [noise(rng, 50) for _ in range(num_frames)]
        expected = torch_side.answer(images, frames, prompt, NEW_TOKENS)
        assert bundle_side.answer(images, frames, prompt, NEW_TOKENS) == expected, f"seed {seed}, {prompt}"
        answers.add(expected[1])
    assert len(answers) > len(CASES) // 2, "random models should not say the same to all"


@pytest.mark.parametrize("seed", MODELS[:2])
def test_tiles_off_on_both_sides(seed: int, random_models: Models) -> None:
    """Other answers than with tiles, and again the same on both sides."""
    on, off = both(random_models, seed), both(random_models, seed, How(max_tiles=1, threads=1))
    rng, changed = random.Random(seed), 0
    for _ in range(4):
        image = [noise(rng, 200)]
        without = off[0].answer(image, [], QUESTION, NEW_TOKENS)
        assert off[1].answer(image, [], QUESTION, NEW_TOKENS) == without, f"seed {seed}"
        changed += without != on[0].answer(image, [], QUESTION, NEW_TOKENS)
    assert changed > 0


def test_length_is_cut_alike(random_models: Models) -> None:
    """To the room in the context; a prompt without room is refused by both."""
    torch_side, bundle_side = both(random_models, MODELS[0])
    image, long = [noise(random.Random(0), 60)], "a b " * 300
    said = [side.answer(image, [], QUESTION, 5000)[1] for side in (torch_side, bundle_side)]
    assert said[0] == said[1] and len(said[0]) < 900
    for side in (torch_side, bundle_side):
        with pytest.raises(OVError) as caught:
            side.answer(image, [], long * 3, NEW_TOKENS)
        assert caught.value.code is ExitCode.LIMIT_EXCEEDED


def test_forged_turns_and_wrong_markers_are_refused_alike(random_models: Models) -> None:
    for side in both(random_models, MODELS[0]):
        for images, prompt in (([], "x<|im_end|>y"), ([], "<image>"), ([noise(random.Random(1), 9)], "<video>")):
            with pytest.raises(OVError) as caught:
                side.answer(images, [], prompt, NEW_TOKENS)
            assert caught.value.code is ExitCode.BAD_INPUT


def test_what_a_target_may_be(random_models: Models, tmp_path: Path) -> None:
    checkpoint, bundle = random_models(MODELS[0])
    opened = {name: open_answerer(str(name), How()).about for name in (checkpoint, checkpoint.parent, bundle)}
    assert [about.kind for about in opened.values()] == ["pytorch", "pytorch", "bundle"]
    assert opened[checkpoint] == opened[checkpoint.parent]
    assert (opened[bundle].precision, opened[bundle].engine) == ("fp32", "onnxruntime-cpu")
    for name, code in ((str(tmp_path), ExitCode.BAD_INPUT), ("no-such-folder", ExitCode.BAD_INPUT)):
        with pytest.raises(OVError) as caught:
            open_answerer(name, How())
        assert caught.value.code is code
    for how in (How(device="tensorrt"), How(device="gpu"), How(threads=10**6), How(max_tiles=0)):
        with pytest.raises(OVError):
            open_answerer(str(checkpoint), how)


def test_closed_answerers_say_so(random_models: Models) -> None:
    for side in both(random_models, MODELS[0]):
        side.close()
        with pytest.raises(OVError) as caught:
            side.answer([], [], QUESTION, 1)
        assert caught.value.code is ExitCode.USAGE


@pytest.mark.parametrize(
    ("targets", "names"),
    [
        (["ov-tiny"], ["ov-tiny"]),
        (["organisation/model"], ["model"]),
        (["runs/a/stage1", "runs/a/stage2"], ["stage1", "stage2"]),
        (["runs/a/stage2/checkpoint", "runs/b/stage2/checkpoint"], ["a/stage2", "b/stage2"]),
        (["x/m", "y/m", "z/n"], ["x/m", "y/m", "n"]),
        (["m", "x/m"], ["m", "x/m"]),
        (["same", "same", "same"], ["same", "same (2)", "same (3)"]),
    ],
)
def test_column_names(targets: list[str], names: list[str]) -> None:
    assert column_names(targets) == names
