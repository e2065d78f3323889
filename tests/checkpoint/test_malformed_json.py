"""Wrong types in the JSON files of a checkpoint: a refusal that names the file, never another exception."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from tiny_checkpoint import change_json, write_hf, write_json, write_llava, write_vocab_files

from ovengines.errors import ExitCode, OVError
from ovexport.checkpoint import open_checkpoint
from ovexport.checkpoint.tokenizer import load_tokenizer

CASES = 400
WRONG: list[Any] = [
    *(None, True, -1, 0, 7, 1 << 24, 1 << 40, 10**400, 1.5, float("nan"), float("inf")),
    *("", "x", "a b", "\ud800", [], [None], [[384]], {}, {"a": None}, {"height": "a"}),
]
Place = tuple[Any, ...]  # keys and indices from the top of a file to a value


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Both families; the first is sharded, the second has no tokenizer.json. Whoever changes a file restores it."""
    root = tmp_path_factory.mktemp("json")
    write_hf(root / "hf", 1, max_shard_size="20KB")
    write_llava(root / "llava", 0)
    return [root / "hf", root / "llava"]


def places(value: Any, place: Place = ()) -> list[Place]:
    """Those of the value and all in it, of long objects the first 40."""
    keys = list(value)[:40] if isinstance(value, dict) else range(min(len(value), 10)) if type(value) is list else []
    return [place, *(inner for key in keys for inner in places(value[key], (*place, key)))]


def replaced(value: Any, place: Place, new: Any) -> Any:
    if not place:
        return new
    parent = value
    for key in place[:-1]:
        parent = parent[key]
    parent[place[-1]] = new
    return value


def test_random_wrong_types_open_or_are_refused(folders: list[Path]) -> None:
    """Seeds where neither happens are printed with the place; seed i is the i-th case."""
    opened, faults = 0, []
    for seed in range(CASES):
        rng = random.Random(seed)
        folder = rng.choice(folders)
        path = rng.choice(sorted(folder.glob("*.json")))
        before = path.read_text()
        value = json.loads(before)
        place, new = rng.choice(places(value)), rng.choice(WRONG)
        write_json(path, replaced(value, place, new))
        try:
            open_checkpoint(folder).close()
            opened += 1
        except OVError as err:
            if err.code != ExitCode.BAD_INPUT:
                faults.append(f"seed {seed}: {path.name} {place} = {new!r}: code {err.code}")
        except Exception as err:
            faults.append(f"seed {seed}: {path.name} {place} = {str(new)[:40]}: {err!r}")
        finally:
            path.write_text(before)
    assert not faults, "\n".join(faults)
    assert CASES // 10 < opened < CASES * 9 // 10, "the cases should be neither all harmless nor all refused"


@pytest.mark.parametrize(
    ("file", "fields", "words"),
    [
        ("preprocessor_config.json", {"size": {"height": "a"}}, "size"),
        ("preprocessor_config.json", {"size": {"height": None}}, "size"),
        ("preprocessor_config.json", {"size": [[384]]}, "size"),
        ("preprocessor_config.json", {"image_mean": [0.5, 0.5, float("nan")]}, "image_mean"),
        ("preprocessor_config.json", {"image_mean": [0.5, 0.5, 10**400]}, "image_mean"),
        ("preprocessor_config.json", {"rescale_factor": 10**400}, "rescale_factor"),
        ("config.json", {"text_config__layer_types": 5}, "layer_types"),
        ("config.json", {"text_config__layer_types": [["full_attention"]]}, "layer_types"),
        ("config.json", {"text_config__rms_norm_eps": float("inf")}, "rms_norm_eps"),
        ("config.json", {"text_config__hidden_size": 1 << 40}, "hidden_size"),
        ("config.json", {"text_config__num_hidden_layers": 1 << 20}, "num_hidden_layers"),
        ("config.json", {"vision_config__num_hidden_layers": 1 << 20}, "num_hidden_layers"),
        ("config.json", {"vision_config__num_channels": 1 << 24, "vision_config__hidden_size": 1 << 24,
                         "vision_config__image_size": 1 << 24, "vision_config__patch_size": 1 << 24,
                         "vision_config__num_attention_heads": 1, "image_grid_pinpoints": [[1 << 24, 1 << 24]]},
         "no machine"),
        ("model.safetensors.index.json", {"weight_map__image_newline": ["model.safetensors"]}, "bare"),
        ("model.safetensors.index.json", {"weight_map__image_newline": {}}, "bare"),
        ("config.json", {"model_type": "\ud800"}, "config.json is not JSON"),
    ],
)  # fmt: skip
def test_values_that_no_type_check_saw(folders: list[Path], file: str, fields: dict[str, Any], words: str) -> None:
    path = folders[0] / file
    others = {path: path.read_text()}
    if "image_grid_pinpoints" in fields:  # the two files have to agree for the sizes to be reached
        processor = folders[0] / "preprocessor_config.json"
        others[processor] = processor.read_text()
        change_json(processor, image_grid_pinpoints=None, size=None)
    try:
        change_json(path, **fields)
        with pytest.raises(OVError) as caught:
            open_checkpoint(folders[0])
    finally:
        for changed, text in others.items():
            changed.write_text(text)
    assert caught.value.code == ExitCode.BAD_INPUT and words in caught.value.message, caught.value.message


@pytest.mark.parametrize("content", [["<|im_end|>"], {"<|im_end|>": "302"}, {"<|im_end|>": [302]}, "x", 5])
def test_added_tokens_that_are_no_object_of_ids(tmp_path: Path, content: Any) -> None:
    write_vocab_files(tmp_path)
    write_json(tmp_path / "added_tokens.json", content)
    with pytest.raises(OVError, match=r"added_tokens\.json"):
        load_tokenizer(tmp_path)


def test_merges_that_are_not_utf8(tmp_path: Path) -> None:
    write_vocab_files(tmp_path)
    with (tmp_path / "merges.txt").open("ab") as file:
        file.write(b"\xff \xfe\n")
    with pytest.raises(OVError, match=r"merges\.txt is not UTF-8"):
        load_tokenizer(tmp_path)
