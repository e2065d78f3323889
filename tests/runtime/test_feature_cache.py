"""What was seen is remembered within its bounds, and only for what it depends on."""

from __future__ import annotations

import os
import random
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ovrun.vision.feature_cache import FeatureCache, sight_key


def tokens(number: int, rows: int = 4) -> np.ndarray:
    return np.full((rows, 8), number, np.float32)


def key(number: int) -> bytes:
    return number.to_bytes(32, "big")


def picture(seed: int, size: tuple[int, int] = (9, 7)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8))


def test_keys_tell_everything_apart_that_matters() -> None:
    image = picture(1)
    other = image.copy()
    other.putpixel((3, 3), (1, 2, 3))
    turned = Image.frombytes("RGB", (7, 9), image.tobytes())  # the same bytes in another shape
    grey = image.convert("L")
    keys = {
        sight_key(one, mode, scope)
        for one in (image, other, turned, grey)
        for mode in ("anyres", "frame")
        for scope in ("model a", "model b")
    }
    assert len(keys) == 4 * 2 * 2
    assert sight_key(image, "anyres", "model a") == sight_key(image.copy(), "anyres", "model a")


@pytest.mark.parametrize("seed", range(20))
def test_memory_stays_in_bounds_and_the_least_used_go_first(seed: int) -> None:
    rng, size = random.Random(seed), tokens(0).nbytes
    room = rng.randint(1, 6)
    cache, order = FeatureCache(room * size + size // 2), []  # order: an LRU written down plainly
    for _ in range(200):
        number = rng.randrange(10)
        found = cache.get(key(number))
        assert (found is not None) == (number in order), f"{seed=}"
        if found is None:
            cache.put(key(number), tokens(number))
        else:
            assert (found == number).all()
            order.remove(number)
        order = [*order, number][-room:]
        assert cache.num_bytes == len(cache) * size <= cache.max_bytes


def test_what_is_larger_than_all_of_it_is_not_kept_and_zero_keeps_nothing() -> None:
    cache = FeatureCache(100)
    cache.put(key(1), tokens(1, rows=100))
    assert cache.get(key(1)) is None and len(cache) == 0
    off = FeatureCache(0)
    off.put(key(1), tokens(1))
    assert off.get(key(1)) is None and (off.hits, off.misses) == (0, 1)


def test_nobody_can_change_what_is_remembered() -> None:
    cache, mine = FeatureCache(1000), tokens(1)
    cache.put(key(1), mine)
    mine[:] = 9
    found = cache.get(key(1))
    assert found is not None and (found == 1).all()
    with pytest.raises(ValueError, match="read-only"):
        found[0, 0] = 5


def test_the_disk_outlives_the_process(tmp_path: Path) -> None:
    folder = tmp_path / "seen"
    FeatureCache(1000, folder, 10_000).put(key(1), tokens(1))
    later = FeatureCache(1000, folder, 10_000)
    found = later.get(key(1))
    assert found is not None and (found == 1).all() and later.hits == 1 and len(later) == 1
    later.clear()
    assert later.get(key(1)) is not None


def test_the_disk_stays_in_bounds(tmp_path: Path) -> None:
    cache = FeatureCache(0, tmp_path, 3 * 400)
    for number in range(8):
        cache.put(key(number), tokens(number))
        os.utime(tmp_path / f"{key(number).hex()}.npy", (number, number))
    left = sorted(tmp_path.iterdir())
    assert 1 <= len(left) <= 4 and sum(file.stat().st_size for file in left) <= 3 * 400
    assert cache.get(key(7)) is not None and cache.get(key(0)) is None


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY", b"not an array at all", None])
def test_a_damaged_file_is_as_good_as_none(tmp_path: Path, damage: bytes | None) -> None:
    cache = FeatureCache(0, tmp_path, 10_000)
    file = tmp_path / f"{key(1).hex()}.npy"
    if damage is None:
        np.save(file, np.zeros((2, 2), np.int64))
    else:
        file.write_bytes(damage)
    assert cache.get(key(1)) is None


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    np.save(tmp_path / f"{key(1).hex()}.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    assert FeatureCache(0, tmp_path, 10_000).get(key(1)) is None


def test_a_disk_that_can_not_be_written_costs_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = FeatureCache(1000, tmp_path / "file" / "below", 10_000)
    cache.put(key(1), tokens(1))
    assert cache.get(key(1)) is not None


def test_threads(tmp_path: Path) -> None:
    cache, wrong = FeatureCache(2000, tmp_path, 4000), []

    def work(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(150):
            number = rng.randrange(12)
            found = cache.get(key(number))
            if found is None:
                cache.put(key(number), tokens(number))
            elif not (found == number).all():
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and cache.num_bytes <= 2000 and not list(tmp_path.glob("*.part"))
