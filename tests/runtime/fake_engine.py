"""A tiny bundle and a fake engine whose every logit depends on every token and visual row seen so far.

The fake stands in for graphs: an error in chunking, in positions or in rewinding changes its answers. Its logits are a
function of a rolling hash, so nothing about them can be right by chance.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from ovengines.bundle.manifest import (
    LAYOUT_VERSION,
    SEMANTICS_VERSION,
    Geometry,
    GraphSpec,
    Manifest,
    ModelSpec,
    TensorSpec,
)
from ovengines.bundle.writer import BundleWriter
from ovengines.engine import Best, best_of
from ovkernels import bilinear_token_pool

SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>", "<video>"]
IMAGE_TOKEN_ID = SPECIALS.index("<image>")
CORPUS = [
    "what is shown in this image? a red circle and two blue squares.",
    "describe this image 图像 😀 😃 naïve café",
]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% for part in m['content'] %}"
    "{{ part['text'] }}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
GEOMETRY = Geometry(
    image_size_px=28,
    patch_size_px=14,
    grid_pinpoints=tuple((28 * rows, 28 * columns) for rows in (1, 2, 3) for columns in (1, 2, 3)),
    max_tiles=9,
    unpad_rounding="hf",
)
WIDTH = 8


def make_tokenizer() -> tokenizers.Tokenizer:
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=SPECIALS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS * 20, trainer)
    return tokenizer


def make_model(vocab_size: int, max_positions: int = 256) -> ModelSpec:
    return ModelSpec(
        name="fake",
        vision_hidden=WIDTH,
        hidden=WIDTH,
        vocab_size=vocab_size,
        num_layers=1,
        num_heads=1,
        num_kv_heads=1,
        head_dim=WIDTH,
        max_positions=max_positions,
        image_token_id=IMAGE_TOKEN_ID,
        video_token_id=SPECIALS.index("<video>"),
        pad_token_id=0,
        eos_token_ids=(SPECIALS.index("<|im_end|>"),),
        geometry=GEOMETRY,
    )


def write_bundle(folder: Path, max_positions: int = 256) -> Path:
    tokenizer = make_tokenizer()
    scalar = (TensorSpec(name="x", dtype="float32", shape=("N",)),)
    with BundleWriter(folder) as writer:
        writer.add_bytes("tokenizer.json", tokenizer.to_str().encode())
        writer.add_bytes("chat_template.jinja", TEMPLATE.encode())
        model = make_model(tokenizer.get_vocab_size(), max_positions)
        past = tuple(
            TensorSpec(name=f"past_key_values.{i // 2}.{i % 2}", dtype="float32", shape=("N",))
            for i in range(2 * model.num_layers)
        )
        graphs = []
        for role in ("vision", "projector", "decoder"):
            writer.add_bytes(f"{role}.onnx", b"")
            inputs = past if role == "decoder" else scalar
            graphs.append(
                GraphSpec(role=role, target="ort", file=f"{role}.onnx", data_files=(), inputs=inputs, outputs=scalar)
            )
        writer.seal(
            Manifest(
                layout_version=LAYOUT_VERSION,
                semantics_version=SEMANTICS_VERSION,
                created_by="tests",
                source="tests/fake",
                source_revision=None,
                source_sha256="0" * 64,
                precision="fp32",
                model=model,
                graphs=tuple(graphs),
                files=writer.file_specs(),
            )
        )
        return writer.publish()


class FakeCache:
    """Holds the rolling hash after each token in place of keys and values."""

    def __init__(self, capacity: int, slots: int) -> None:
        self.capacity = capacity
        self.states: list[list[bytes]] = [[] for _ in range(slots)]

    @property
    def lengths(self) -> list[int]:
        return [len(states) for states in self.states]

    def rewind(self, slot: int, length: int) -> None:
        assert 0 <= length <= len(self.states[slot])
        del self.states[slot][length:]

    def swap(self, one: int, other: int) -> None:
        self.states[one], self.states[other] = self.states[other], self.states[one]

    def copy(self, source: int, target: int, length: int) -> None:
        assert source != target and 0 <= length <= len(self.states[source])
        self.states[target] = self.states[source][:length]

    def trim(self) -> None:
        self.trimmed = max(self.lengths)


class FakeEngine:
    """See the module. `batches` and `chunks` record what it was asked."""

    name = "fake-cpu"
    best_is_cheap = False
    tile_batch_bytes = 1 << 40
    tower_tiles: int | None = None

    def __init__(self, model: ModelSpec) -> None:
        self.model = model
        self.context_tokens = model.max_positions
        self.loaded: set[str] = set()
        self.batches: list[int] = []
        self.chunks: list[tuple[int, int]] = []  # (tokens, logits rows) of each decode
        self.rows: list[int] = []  # that each decode was over
        self.forced: list[int] = []  # tokens to make the likeliest, one per row of logits given
        self.script: dict[int, int] = {}  # tokens to make the likeliest, by the position whose logits are given
        self.best_asked = 0
        random = np.random.default_rng(0)
        self._mixer = random.standard_normal((3 * 14 * 14, WIDTH)).astype(np.float32)
        self._newline_1D = random.standard_normal((1, WIDTH)).astype(np.float32)

    def load(self, *roles: str) -> None:
        self.loaded.update(roles)

    def encode(self, pixels_NCHW: np.ndarray) -> np.ndarray:
        assert pixels_NCHW.dtype == np.float32 and pixels_NCHW.shape[1:] == (3, 28, 28)
        self.batches.append(len(pixels_NCHW))
        patches = pixels_NCHW.reshape(-1, 3, 2, 14, 2, 14).transpose(0, 2, 4, 1, 3, 5)
        return patches.reshape(len(pixels_NCHW), 4, -1) @ self._mixer

    def project(self, features_NPD: np.ndarray, indices_T4: np.ndarray, weights_T4: np.ndarray) -> np.ndarray:
        rows_RD = np.concatenate([features_NPD.reshape(-1, WIDTH), self._newline_1D])
        return np.asarray(bilinear_token_pool(rows_RD, indices_T4, weights_T4))

    def new_cache(self, capacity: int, slots: int = 1) -> FakeCache:
        assert slots >= 1 and 0 < capacity <= self.model.max_positions
        return FakeCache(capacity, slots)

    def decode(
        self,
        cache: FakeCache,
        ids_BS: np.ndarray,
        *,
        logits_index_BK: np.ndarray,
        embed_index_BS: np.ndarray | None = None,
        image_embeds_TD: np.ndarray | None = None,
        slots: slice | None = None,
    ) -> np.ndarray:
        assert ids_BS.dtype == logits_index_BK.dtype == np.int64
        numbers = list(range(len(cache.states)))[slots or slice(None)]
        assert len(ids_BS) == len(logits_index_BK) == len(numbers)
        assert len(numbers) == 1 or ids_BS.shape[1] == 1, "GroupQueryAttention takes one row, or one token of each"
        rows_BS = np.full_like(ids_BS, -1) if embed_index_BS is None else embed_index_BS
        self.chunks.append((ids_BS.shape[1], logits_index_BK.shape[1]))
        self.rows.append(len(numbers))
        logits = []
        for number, ids_S, rows_S, index_K in zip(numbers, ids_BS, rows_BS, logits_index_BK, strict=True):
            states = cache.states[number]
            first = len(states)
            assert first + len(ids_S) <= cache.capacity
            for id_, row in zip(ids_S, rows_S, strict=True):
                seen = states[-1] if states else b""
                # Rounded, so that the order of float additions in batches of tiles does not show.
                what = np.round(image_embeds_TD[row], 3).tobytes() if row >= 0 else str(int(id_)).encode()
                states.append(hashlib.sha256(seen + b"|" + what).digest())
            logits.append([self._logits_V(states[first + k], self.script.get(int(first + k))) for k in index_K])
        return (
            np.array(logits, np.float32)
            if logits[0]
            else np.empty((len(numbers), 0, self.model.vocab_size), np.float32)
        )

    def decode_best(self, *args: Any, **more: Any) -> list[list[Best]]:
        self.best_asked += 1
        return best_of(self.decode(*args, **more))

    def _logits_V(self, state: bytes, scripted: int | None) -> np.ndarray:
        random = np.random.default_rng(int.from_bytes(state[:8], "little"))
        logits_V = random.standard_normal(self.model.vocab_size).astype(np.float32) * 3
        if self.forced:
            logits_V[self.forced.pop(0)] = 100
        if scripted is not None:
            logits_V[scripted] = 100
        return logits_V
