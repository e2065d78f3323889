"""Pictures become visual tokens once, whatever asks for them; the oracle is tower and projector over everything."""

from __future__ import annotations

import random

import numpy as np
import pytest
from fake_engine import GEOMETRY, FakeEngine, make_model
from PIL import Image

from ovengines.errors import ExitCode, OVError
from ovrun.stopwatch import Stopwatch
from ovrun.vision import sight
from ovrun.vision.encode import encode_tiles, project_views
from ovrun.vision.feature_cache import FeatureCache
from ovrun.vision.sight import Vision, clip_of
from ovrun.vision.views import make_video_view, make_view

MODEL = make_model(50)


def picture(seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (*rng.integers(15, 90, 2), 3), np.uint8))


def vision(max_bytes: int = 1 << 20) -> Vision:
    return Vision(FakeEngine(MODEL), MODEL, FeatureCache(max_bytes), "a model")


@pytest.mark.parametrize("seed", range(20))
def test_the_same_tokens_as_everything_at_once(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(seed)
    monkeypatch.setattr(sight, "GROUP_TILES", rng.randint(1, 9))
    eyes, views, sights = vision(rng.choice((0, 2000, 1 << 20))), [], []
    for _ in range(rng.randint(1, 5)):
        if rng.random() < 0.4:
            frames = [picture(rng.randrange(3)) for _ in range(rng.randint(1, 6))]
            views.append(make_video_view(frames, GEOMETRY))
            sights.append(eyes.clip(frames, GEOMETRY))
        else:
            image, alone = picture(rng.randrange(3)), rng.random() < 0.5
            views.append(make_view(image, GEOMETRY, alone=alone))
            sights.append(eyes.image(image, GEOMETRY, alone=alone))
    engine = FakeEngine(MODEL)
    expected_TD = project_views(engine, views, encode_tiles(engine, views, MODEL))
    done: list[tuple[int, int]] = []
    for _ in range(2):  # the second time from what the sights hold
        done.clear()
        found_TD = eyes.tokens(sights, Stopwatch(), lambda *now: done.append(now))
        np.testing.assert_allclose(found_TD, expected_TD, atol=1e-3, err_msg=f"{seed=}")
        assert all(0 < one <= of for one, of in done)
    assert [s.num_tokens for s in sights] == [view.plan.num_tokens for view in views]
    assert [s.num_tiles for s in sights] == [len(view.pixels_TCHW) for view in views]
    assert not done, "nothing is looked at twice"


def test_remembered_pictures_are_not_even_tiled() -> None:
    eyes = vision()
    eyes.tokens([eyes.image(picture(1), GEOMETRY, alone=True)], Stopwatch())
    seen = eyes.num_encoded_tiles
    again = eyes.image(picture(1), GEOMETRY, alone=True)
    assert again.glances[0].view is None and again.num_tiles == seen > 1
    eyes.tokens([again], Stopwatch())
    assert eyes.num_encoded_tiles == seen
    eyes.tokens([eyes.image(picture(1), GEOMETRY, alone=False)], Stopwatch())
    assert eyes.num_encoded_tiles == seen + 1, "another way to look is another sight"


def test_pixels_are_let_go_once_seen() -> None:
    eyes = vision(0)
    one = eyes.clip([picture(1), picture(2), picture(1)], GEOMETRY)
    eyes.tokens([one], Stopwatch())
    assert all(glance.view is None and glance.embeds_TD is not None for glance in one.glances)


def test_digests_say_what_is_equal() -> None:
    eyes = vision()
    a, b = picture(1), picture(2)
    digests = [
        eyes.image(a, GEOMETRY, alone=True).digest,
        eyes.image(a, GEOMETRY, alone=False).digest,
        eyes.image(b, GEOMETRY, alone=True).digest,
        eyes.clip([a], GEOMETRY).digest,
        eyes.clip([a, b], GEOMETRY).digest,
        eyes.clip([b, a], GEOMETRY).digest,
    ]
    assert len(set(digests)) == len(digests)
    assert eyes.clip([a, b], GEOMETRY).digest == digests[4]


def test_a_clip_without_frames() -> None:
    with pytest.raises(OVError) as caught:
        clip_of([])
    assert caught.value.code is ExitCode.BAD_INPUT
