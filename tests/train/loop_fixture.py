"""What the tests of the training loop share: a model of twenty thousand parameters, mixed records, command lines.

`python loop_fixture.py` is a nursery of processes: PyTorch is imported once, and every command line asked for on stdin
is run in forked processes, alone or as torchrun would start them. (A test's own process cannot be forked once it has
run a backward.)
"""

from __future__ import annotations

import atexit
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from ovengines.bundle.manifest import Geometry
from ovexport.checkpoint import save_checkpoint
from ovexport.checkpoint.chat_template import builtin_template
from ovexport.model import LanguageConfig, OneVision, OneVisionConfig, VisionConfig

TILE_PX, PATCH_PX = 14, 7
SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>", "<video>")
TIMEOUT_S = 120


def tokenizer() -> Tokenizer:
    """A token per byte, and the five with a meaning."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE(vocab={letter: number for number, letter in enumerate(alphabet)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(list(SPECIALS))
    return made


def config(*, tied: bool = True) -> OneVisionConfig:
    """Sizes that neither two nor four processes divide evenly, so that shards differ."""
    ids = tokenizer().get_vocab()
    return OneVisionConfig(
        vision=VisionConfig(
            hidden=18, intermediate=22, num_layers=1, num_heads=2, image_size_px=TILE_PX, patch_size_px=PATCH_PX
        ),
        language=LanguageConfig(
            vocab_size=len(ids), hidden=20, intermediate=30, num_layers=2, num_heads=2, num_kv_heads=1, head_dim=10,
            max_positions=4096, tie_word_embeddings=tied, rope_theta=1e4,
        ),
        geometry=Geometry(
            image_size_px=TILE_PX, patch_size_px=PATCH_PX, grid_pinpoints=((TILE_PX, TILE_PX),), max_tiles=9,
            unpad_rounding="hf",
        ),
        image_token_id=ids["<image>"],
        video_token_id=ids["<video>"],
        pad_token_id=ids["<|endoftext|>"],
        eos_token_ids=(ids["<|im_end|>"],),
    )  # fmt: skip


def fresh_model(seed: int, *, tied: bool = True) -> OneVision:
    torch.manual_seed(seed)
    model = OneVision(config(tied=tied))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.05)  # biases too, or their gradients say little
    return model


def write_start(folder: Path, seed: int = 0, *, tied: bool = True) -> Path:
    save_checkpoint(
        fresh_model(seed, tied=tied), folder, dtype=torch.float32, tokenizer_json=tokenizer().to_str().encode(),
        chat_template=builtin_template(has_video_token=True),
    )  # fmt: skip
    return folder


def write_records(folder: Path, count: int, seed: int = 0, kinds: str = "image text multi-image") -> Path:
    """records.jsonl with its pictures: sizes from one tile to many, answers of a few letters."""
    rng = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for number in range(count):
        kind = kinds.split()[number % len(kinds.split())]
        names = [f"{number}-{k}.png" for k in range({"image": 1, "text": 0, "multi-image": 2}[kind])]
        for name in names:
            size = rng.randint(8, 3 * TILE_PX), rng.randint(8, 3 * TILE_PX)
            Image.frombytes("RGB", size, rng.randbytes(3 * size[0] * size[1])).save(folder / name)
        question = "<image>\n" * len(names) + rng.choice(("What?", "Which letters?"))
        answer = "".join(rng.choice("ABCDE") for _ in range(rng.randint(1, 6)))
        turns = [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
        record: dict[str, Any] = {"id": str(number), "conversations": turns}
        if names:
            record["image"] = names if len(names) > 1 else names[0]
        lines.append(json.dumps(record))
    path = folder / "records.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


def words(stage: str, folder: Path, *more: object) -> list[str]:
    """A command line of few and short steps; FOLDER holds start/, data/ and runs/."""
    usual = {
        "--size": "tiny", "--runs": folder / "runs", "--start-from": folder / "start", "--workers": 0,
        "--data": folder / "data" / "records.jsonl", "--optimizer": "adamw", "--grouping": "none",
        "--global-batch": 4, "--device-batch": 1, "--max-steps": 6, "--warmup-ratio": 0.2, "--device": "cpu",
        "--save-every": 2,
    }  # fmt: skip
    given = dict(zip(more[::2], more[1::2], strict=True))
    return ["train", stage, *(str(word) for pair in {**usual, **given}.items() for word in pair)]


def write_all(folder: Path, count: int = 24, *, tied: bool = True) -> Path:
    """What `words` expects."""
    write_start(folder / "start", tied=tied)
    write_records(folder / "data", count)
    return folder


def metrics(out: Path) -> list[dict[str, Any]]:
    path = out / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def losses(out: Path) -> list[float]:
    rows = metrics(out)
    assert [row["step"] for row in rows] == list(range(len(rows))), rows
    return [row["loss"] for row in rows]


def weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    return load_file(checkpoint / "model.safetensors")


class Nursery:
    """The forking process, as the tests see it."""

    def __init__(self) -> None:
        # Not the folder of the tests: `python -m` and a script look for packages beside themselves first.
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a suite in the background ignores it
        )

    def start(self, line: list[str], log: Path, size: int | None = None) -> list[int]:
        """Process ids of one process, or of `size` of them that find each other; each writes LOG.RANK."""
        return self._ask({"words": line, "log": str(log), "size": size})

    def wait(self, pids: list[int]) -> list[int]:
        """Exit codes, negative for signals."""
        return self._ask({"wait": pids})

    def run(self, line: list[str], log: Path, size: int | None = None) -> list[int]:
        return self.wait(self.start(line, log, size))

    def signal_when(self, condition: Callable[[], bool], line: list[str], log: Path, number: int) -> int:
        """The exit code of a process that gets a signal as soon as the condition holds; its own if it was faster."""
        (pid,) = self.start(line, log)
        end = time.monotonic() + TIMEOUT_S
        while not condition() and time.monotonic() < end and self._ask({"running": pid}):
            time.sleep(0.0005)
        with suppress(ProcessLookupError):
            os.kill(pid, number)
        return self.wait([pid])[0]

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=TIMEOUT_S)

    def _ask(self, question: dict[str, Any]) -> list[int]:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        answer: list[int] = json.loads(self._process.stdout.readline())
        return answer


@cache
def nursery() -> Nursery:
    """One for all tests of a process."""
    made = Nursery()
    atexit.register(made.close)
    return made


def _serve() -> None:
    import torch._dynamo  # slow, and imported by the first optimizer
    import torch.utils.tensorboard

    import ovexport.train.loop.stage  # noqa: F401

    torch.set_num_threads(1)
    codes: dict[int, int] = {}
    for line in sys.stdin:
        asked = json.loads(line)
        (verb,) = asked.keys() & _ANSWERS.keys()
        print(json.dumps(_ANSWERS[verb](asked, codes)), flush=True)


def _running(asked: dict[str, Any], codes: dict[int, int]) -> list[int]:
    return [] if _is_done(asked["running"], codes) else [asked["running"]]


def _start(asked: dict[str, Any], codes: dict[int, int]) -> list[int]:
    line, log, size = asked["words"], asked["log"], asked["size"]
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "WORLD_SIZE": str(size)}
    pids = []
    for rank in range(size or 1):
        pid = os.fork()
        if pid == 0:
            if size is not None:
                os.environ.update(place, RANK=str(rank), LOCAL_RANK=str(rank))
            _become(line, f"{log}.{rank}")
        pids.append(pid)
    return pids


def _become(line: list[str], log: str) -> None:
    """Never returns, whatever happens: a second server would answer in this one's place."""
    code = 99
    try:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdin.close()
        from ovexport.cli import main

        code = main(line)
    finally:
        sys.stdout.flush()
        os._exit(code)


def _wait(asked: dict[str, Any], codes: dict[int, int]) -> list[int]:
    """A process that hangs is ended, so that the test fails and not the suite."""
    end = time.monotonic() + TIMEOUT_S
    for pid in asked["wait"]:
        while not _is_done(pid, codes):
            time.sleep(0.002)
            if time.monotonic() > end:
                os.kill(pid, signal.SIGABRT)
    return [codes[pid] for pid in asked["wait"]]


def _is_done(pid: int, codes: dict[int, int]) -> bool:
    if pid not in codes:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            codes[pid] = os.waitstatus_to_exitcode(status)
    return pid in codes


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


_ANSWERS: dict[str, Callable[[dict[str, Any], dict[int, int]], list[int]]] = {
    "words": _start, "wait": _wait, "running": _running,
}  # fmt: skip

if __name__ == "__main__":
    _serve()
