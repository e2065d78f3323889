"""Pixels and token counts of samples against transformers' processors; truncation, and media that are bad."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from data_oracle import (
    IGNORED,
    expanded,
    make_spec,
    processor,
    random_turns,
    released_chatml,
    save_image,
    tiny_geometry,
    token_id,
    write_records,
)
from PIL import Image
from transformers.models.llava_onevision.processing_llava_onevision import LlavaOnevisionProcessor
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from ovengines.errors import ExitCode, OVError
from ovexport.train.data.measure import count_tokens
from ovexport.train.data.records import BadRecord, Record, RecordFile
from ovexport.train.data.sample import Sample, make_sample
from ovexport.train.data.spec import SampleSpec, training_geometry
from ovrun.tiling.plan import concat, plan_image, plan_single_view, plan_video

STAGE_1_5_PX = [(768, 384), (384, 768), (768, 768), (384, 1152), (1152, 384)]  # (height, width), in the released order
STAGE_1_5 = ((2, 1), (1, 2), (2, 2), (1, 3), (3, 1))


def record_of(folder: Path, turns: list[dict[str, str]], **media: Any) -> Record:
    return RecordFile(write_records(folder / "records.json", [{"id": "x", "conversations": turns, **media}]))[0]


def talk(markers: int) -> list[dict[str, str]]:
    return [{"from": "human", "value": "<image>" * markers + "\nWhat is it?"}, {"from": "gpt", "value": "Red"}]


def features_of(spec: SampleSpec, height_px: int, width_px: int) -> int:
    """transformers' own count, by a processor that was never set up for more."""
    theirs = object.__new__(LlavaOnevisionProcessor)
    theirs.image_processor = processor(spec.geometry)
    theirs.num_image_tokens = spec.geometry.patches_per_side**2
    theirs.vision_aspect_ratio = "anyres_max_9"
    side_px = spec.geometry.image_size_px
    return theirs._get_number_of_features(height_px, width_px, side_px, side_px)


def check_whole(sample: Sample, turns: list[dict[str, str]], counts: list[int], note: str) -> None:
    ids, labels = expanded(*released_chatml(turns, bool(counts)), counts)
    assert sample.ids_S.tolist() == ids and sample.labels_S.tolist() == labels, note
    assert sample.plan is not None and sample.plan.num_tokens == sum(counts) == sample.visual_S.sum(), note
    assert sample.plan.num_tiles == len(sample.pixels_NCHW), note
    assert sample.pixels_NCHW.dtype == np.float32 and sample.ids_S.dtype == sample.labels_S.dtype == np.int64


@pytest.mark.parametrize("aspect_ratio", ["anyres_max_9", "anyres"])
@pytest.mark.parametrize("seed", range(25))
def test_one_image(tmp_path: Path, seed: int, aspect_ratio: str) -> None:
    rng = random.Random(seed)
    height_px, width_px = (rng.choice((rng.randint(20, 700), 104, 208)) for _ in range(2))
    image = save_image(tmp_path / "a.png", height_px, width_px, seed)
    pinpoints = STAGE_1_5 if aspect_ratio == "anyres" else [(r, c) for r in range(1, 7) for c in range(1, 7)]
    spec = make_spec(aspect_ratio=aspect_ratio, geometry=training_geometry(tiny_geometry(), aspect_ratio, pinpoints))
    turns = random_turns(rng, 1)
    record = record_of(tmp_path, turns, image=["a.png"] if rng.random() < 0.3 else "a.png")
    sample = make_sample(record, spec)
    note = f"seed {seed}: {height_px} x {width_px}"
    check_whole(sample, turns, [features_of(spec, height_px, width_px)], note)
    theirs = processor(spec.geometry)(image, return_tensors="np")["pixel_values"][0]
    assert np.array_equal(sample.pixels_NCHW, theirs), note
    assert sample.modality == "image" and count_tokens(record, spec) == sample.num_tokens, note
    assert np.array_equal(sample.plan.indices_T4, plan_image(height_px, width_px, spec.geometry).indices_T4), note


@pytest.mark.parametrize("seed", range(10))
def test_several_images_are_one_view_each(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    count, spec = rng.randint(2, 4), make_spec()
    names = [f"{number}.png" for number in range(count)]
    images = [
        save_image(tmp_path / name, rng.randint(20, 300), rng.randint(20, 300), seed * 10 + number)
        for number, name in enumerate(names)
    ]
    turns = random_turns(rng, count)
    record = record_of(tmp_path, turns, image=names)
    sample = make_sample(record, spec)
    check_whole(sample, turns, [50] * count, f"seed {seed}")
    theirs = processor(spec.geometry)([images], return_tensors="np")["pixel_values"]
    assert np.array_equal(sample.pixels_NCHW, np.concatenate([views[:1] for views in theirs])), f"seed {seed}"
    expected = concat([plan_single_view(spec.geometry)] * count)
    assert np.array_equal(sample.plan.indices_T4, expected.indices_T4)
    assert sample.modality == "multi-image" and count_tokens(record, spec) == sample.num_tokens


def siglip(image: Image.Image) -> np.ndarray:
    """How the tower's own processor sees a whole image."""
    theirs = SiglipImageProcessorPil(
        size={"height": 104, "width": 104}, image_mean=[0.5] * 3, image_std=[0.5] * 3, resample=3
    )
    return theirs(image, return_tensors="np")["pixel_values"]


@pytest.mark.parametrize("seed", range(8))
def test_square_and_flat_is_the_whole_image_without_a_newline(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    image = save_image(tmp_path / "a.png", rng.randint(10, 300), rng.randint(10, 300), seed)
    record = record_of(tmp_path, talk(1), image="a.png")
    for merge, count in (("flat", 49), ("spatial_unpad", 50)):
        spec = make_spec(aspect_ratio="square", merge=merge)
        sample = make_sample(record, spec)
        check_whole(sample, talk(1), [count], f"seed {seed}")
        assert np.allclose(sample.pixels_NCHW, siglip(image), atol=1e-6, rtol=0), f"seed {seed}"
        assert np.array_equal(sample.plan.indices_T4[:, 0], np.arange(count))
        assert count_tokens(record, spec) == sample.num_tokens


def write_clip(path: Path, num_frames: int, rate: int, size: tuple[int, int] = (64, 48)) -> list[Image.Image]:
    """A clip whose frames differ in brightness; the frames as PyAV decodes all of them."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for number in range(num_frames):
            image = Image.new("RGB", size, (number * 255 // num_frames,) * 3)
            container.mux(stream.encode(av.VideoFrame.from_image(image)))
        container.mux(stream.encode())
    with av.open(str(path)) as container:
        return [frame.to_image() for frame in container.decode(video=0)]


@pytest.mark.parametrize(("num_frames", "rate", "max_frames"), [(5, 1, 32), (40, 10, 32), (40, 10, 3), (1, 1, 8)])
@pytest.mark.parametrize("merge", ["spatial_unpad", "flat"])
@pytest.mark.parametrize("video_token", [True, False])
def test_video(tmp_path: Path, num_frames: int, rate: int, max_frames: int, merge: str, video_token: bool) -> None:
    frames = write_clip(tmp_path / "a.mp4", num_frames, rate)
    wanted = list(range(0, num_frames, rate))
    if len(wanted) > max_frames:
        wanted = np.linspace(0, num_frames - 1, max_frames, dtype=int).tolist()
    settings: dict[str, Any] = {"merge": merge, "max_frames": max_frames}
    if merge == "flat":
        settings["aspect_ratio"] = "square"
    if not video_token:
        settings["video_token_id"] = None
    spec = make_spec(**settings)
    record = record_of(tmp_path, talk(1), video="a.mp4")
    sample = make_sample(record, spec)
    visual_id = token_id("<video>" if video_token else "<image>")
    count = 16 * len(wanted) + (merge == "spatial_unpad")
    ids, labels = expanded(*released_chatml(talk(1), True), [count], visual_id)
    assert sample.ids_S.tolist() == ids and sample.labels_S.tolist() == labels
    assert np.allclose(
        sample.pixels_NCHW, np.concatenate([siglip(frames[index]) for index in wanted]), atol=1e-6, rtol=0
    )
    expected = plan_video(len(wanted), spec.geometry)
    assert np.array_equal(sample.plan.indices_T4, expected.indices_T4[:count])
    assert sample.plan.num_tiles == len(wanted) and sample.modality == "video"
    assert count_tokens(record, spec) == sample.num_tokens


def test_text_alone_has_no_tiles(tmp_path: Path) -> None:
    sample = make_sample(record_of(tmp_path, talk(0)), make_spec())
    ids, labels = released_chatml(talk(0), False)
    assert sample.ids_S.tolist() == ids and sample.labels_S.tolist() == labels
    assert sample.pixels_NCHW.shape == (0, 3, 104, 104) and sample.plan is None and sample.modality == "text"


@pytest.mark.parametrize("turns_setting", ["chained", "apart"])
@pytest.mark.parametrize("seed", range(8))
def test_truncation_comes_after_expansion(tmp_path: Path, seed: int, turns_setting: str) -> None:
    rng = random.Random(seed)
    names = ["a.png", "b.png"][: rng.randint(1, 2)]
    for number, name in enumerate(names):
        save_image(tmp_path / name, 104, 104, number)
    record = record_of(tmp_path, random_turns(rng, len(names)), image=names)
    whole = make_sample(record, make_spec(turns=turns_setting))
    for length in rng.sample(range(30, whole.num_tokens), 12):
        spec = make_spec(turns=turns_setting, max_length=length)
        cut = make_sample(record, spec)
        assert cut.num_tokens == length == count_tokens(record, spec)
        for name in ("ids_S", "labels_S", "visual_S", "exchange_S", "positions_S"):
            assert np.array_equal(getattr(cut, name), getattr(whole, name)[:length]), f"seed {seed}: {name} to {length}"
        num_visual = int(whole.visual_S[:length].sum())
        assert np.array_equal(cut.plan.indices_T4, whole.plan.indices_T4[:num_visual])
        assert np.array_equal(cut.plan.weights_T4, whole.plan.weights_T4[:num_visual])
        assert np.array_equal(cut.pixels_NCHW, whole.pixels_NCHW)


def test_nothing_left_to_learn_is_a_bad_record(tmp_path: Path) -> None:
    save_image(tmp_path / "a.png", 104, 104, 0)
    record = record_of(tmp_path, talk(1), image="a.png")
    whole = make_sample(record, make_spec(labels="assistant-only"))
    first_label = int(np.flatnonzero(whole.labels_S != IGNORED)[0])
    make_sample(record, make_spec(labels="assistant-only", max_length=first_label + 1))
    with pytest.raises(BadRecord, match="nothing to learn"):
        make_sample(record, make_spec(labels="assistant-only", max_length=first_label))


def broken_files(folder: Path) -> None:
    save_image(folder / "whole.png", 200, 200, 0)
    (folder / "cut.png").write_bytes((folder / "whole.png").read_bytes()[:20_000])
    (folder / "text.png").write_text("not an image")
    (folder / "empty.png").touch()
    (folder / "text.mp4").write_text("not a video")
    save_image(folder / "thin.png", 1, 5000, 0)
    (folder / "no_frames").mkdir()


@pytest.mark.parametrize(
    ("media", "finding"),
    [
        ({"image": "missing.png"}, "missing.png does not exist"),
        ({"image": "cut.png"}, "cut off"),
        ({"image": "text.png"}, "not an image"),
        ({"image": "empty.png"}, "0 bytes"),
        ({"image": "thin.png"}, "5,000:1, over the limit image_aspect"),
        ({"image": "no_frames"}, "is a directory"),
        ({"video": "missing.mp4"}, "missing.mp4 does not exist"),
        ({"video": "text.mp4"}, "not a video"),
        ({"video": "no_frames"}, "has no frames"),
        ({"video": "whole.png"}, "is a still picture, not a video"),
    ],
)
def test_bad_media_make_a_bad_record(tmp_path: Path, media: dict[str, str], finding: str) -> None:
    broken_files(tmp_path)
    record = record_of(tmp_path, talk(1), **media)
    with pytest.raises(BadRecord, match=finding) as caught:
        make_sample(record, make_spec())
    assert str(tmp_path) in caught.value.reason


def test_a_wrong_setting_is_no_bad_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_image(tmp_path / "a.png", 20, 20, 0)
    monkeypatch.setenv("OV_MAX_IMAGE_PIXELS", "many")
    with pytest.raises(OVError) as caught:
        make_sample(record_of(tmp_path, talk(1), image="a.png"), make_spec())
    assert caught.value.code == ExitCode.USAGE


def test_stage_1_5_pinpoints_keep_the_order_and_sides_of_the_released_list() -> None:
    geometry = training_geometry(tiny_geometry(), "anyres", STAGE_1_5)
    assert [(height * 384 // 104, width * 384 // 104) for height, width in geometry.grid_pinpoints] == STAGE_1_5_PX
    assert geometry.max_tiles is None
    assert plan_image(300, 300, training_geometry(tiny_geometry(), "anyres", STAGE_1_5[:2])).grid == (2, 1), "a tie"
    assert training_geometry(tiny_geometry(), "anyres_max_12", STAGE_1_5).max_tiles == 12
    assert training_geometry(tiny_geometry(), "square", ()) == tiny_geometry()


@pytest.mark.parametrize(
    "settings",
    [
        {"template": "chatml"},
        {"turns": "alone"},
        {"labels": "all"},
        {"merge": "unpad"},
        {"aspect_ratio": "pad"},
        {"aspect_ratio": "anyres_max_0"},
        {"merge": "flat", "aspect_ratio": "anyres"},
    ],
)
def test_settings_that_do_not_exist(settings: dict[str, str]) -> None:
    with pytest.raises(OVError) as caught:
        make_spec(**settings)
    assert caught.value.code == ExitCode.USAGE
    assert all(value in str(caught.value) for value in settings.values())
