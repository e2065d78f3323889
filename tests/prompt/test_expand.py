"""Markers expanded to visual positions, against the repeated markers of transformers' processor."""

from __future__ import annotations

import random

import numpy as np
import pytest

from ovengines.errors import ExitCode, OVError
from ovrun.prompt.expand import expand

IMAGE, VIDEO, PAD = 90, 91, 0


@pytest.mark.parametrize("seed", range(100))
def test_equals_repeating_the_marker(seed: int) -> None:
    rng = random.Random(seed)
    ids = [rng.choice((1, 2, 3, IMAGE, VIDEO)) for _ in range(rng.randint(0, 12))]
    per_image = [rng.randint(0, 5) for _ in range(ids.count(IMAGE))]
    per_video = [rng.randint(0, 5) for _ in range(ids.count(VIDEO))]
    rows = {IMAGE: iter(range(sum(per_image))), VIDEO: iter(range(sum(per_image), sum(per_image) + sum(per_video)))}
    counts = {IMAGE: iter(per_image), VIDEO: iter(per_video)}
    repeated = [id_ for id_ in ids for _ in range(next(counts[id_]) if id_ in counts else 1)]
    prompt = expand(ids, IMAGE, per_image, PAD, video_token_id=VIDEO, tokens_per_video=per_video)
    note = f"seed {seed}: {ids} {per_image} {per_video}"
    assert prompt.ids_S.tolist() == [PAD if id_ in rows else id_ for id_ in repeated], note
    assert prompt.embed_index_S.tolist() == [next(rows[id_]) if id_ in rows else -1 for id_ in repeated], note
    assert prompt.ids_S.dtype == prompt.embed_index_S.dtype == np.int64 and prompt.num_tokens == len(repeated)


def test_without_a_video_token_videos_follow_the_images() -> None:
    prompt = expand([7, IMAGE, IMAGE, 8], IMAGE, [2], PAD, tokens_per_video=[3])
    assert prompt.ids_S.tolist() == [7, PAD, PAD, PAD, PAD, PAD, 8]
    assert prompt.embed_index_S.tolist() == [-1, 0, 1, 2, 3, 4, -1]


@pytest.mark.parametrize(
    ("ids", "per_image", "video_id", "per_video", "numbers"),
    [
        ([IMAGE, IMAGE], [5], None, [], ("2 image", "1 image")),
        ([1, 2], [5], None, [], ("0 image", "1 image")),
        ([IMAGE], [], None, [], ("1 image", "0 image")),
        ([IMAGE], [5], VIDEO, [4], ("0 video", "1 video")),
        ([IMAGE, VIDEO], [5], VIDEO, [], ("1 video", "0 video")),
    ],
)
def test_another_number_of_markers_names_both(ids, per_image, video_id, per_video, numbers: tuple[str, str]) -> None:
    with pytest.raises(OVError) as caught:
        expand(ids, IMAGE, per_image, PAD, video_token_id=video_id, tokens_per_video=per_video)
    assert caught.value.code is ExitCode.BAD_INPUT
    assert all(number in caught.value.message for number in numbers), caught.value.message
