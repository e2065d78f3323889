"""What a run reports: a JSON line per step, TensorBoard, a progress bar for people and a line a minute for log files.

Only the first process writes. Knows numbers and names; nothing of models or data.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from tqdm import tqdm

from ovexport.train.loop.whole_file import write_whole
from ovrun.log import logger

LINE_EVERY_S = 60.0
FILE, FOLDER = "metrics.jsonl", "tensorboard"


class Metrics:
    """A context manager; `enabled=False` makes it silent (processes that are not the first)."""

    def __init__(self, out: Path, label: str, *, total_steps: int, first_step: int, enabled: bool, quiet: bool) -> None:
        self._enabled = enabled
        self._bar = tqdm(
            desc=label, total=total_steps, initial=first_step, unit="step", dynamic_ncols=True,
            disable=True if quiet or not enabled else None,
        )  # fmt: skip
        self._total_steps = total_steps
        self._line_at = self._last = time.perf_counter()
        if enabled:
            _forget_from(out / FILE, first_step)
            self._file = (out / FILE).open("a", encoding="utf-8")
            self._board = _tensorboard(out / FOLDER, first_step)

    def __enter__(self) -> Metrics:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._bar.close()
        if self._enabled:
            self._file.close()
            if self._board is not None:
                self._board.close()

    def report(self, step: int, *, loss: float, num_tokens: int, **numbers: float) -> None:
        """After `step` (counted from 0) is done; tokens/s come from the time since the last report."""
        if not self._enabled:
            return
        now = time.perf_counter()
        row: dict[str, Any] = {"step": step, "loss": loss, **numbers, "tokens": num_tokens}
        row["tokens_per_s"] = round(num_tokens / max(1e-9, now - self._last), 1)
        row["time"] = round(time.time(), 3)
        self._last = now
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()
        if self._board is not None:
            for name in row.keys() - {"step", "time"}:
                self._board.add_scalar(name, row[name], step)
        self._bar.set_postfix_str(f"loss {loss:.4f}, {row['tokens_per_s']:,.0f} tokens/s", refresh=False)
        self._bar.update()
        if now - self._line_at > LINE_EVERY_S and not sys.stderr.isatty():
            self._line_at = now
            logger.info(
                "step %d of %d, loss %.4f, %.0f tokens/s", step + 1, self._total_steps, loss, row["tokens_per_s"]
            )

    def flush(self) -> None:
        """Before a state is saved: TensorBoard must have all steps that won't be done again."""
        if self._enabled and self._board is not None:
            self._board.flush()


def read_metrics(out: Path) -> list[dict[str, Any]]:
    """The rows so far; a line that a kill has torn is left out."""
    rows = []
    for line in (out / FILE).read_text(encoding="utf-8").splitlines() if (out / FILE).is_file() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def _forget_from(path: Path, first_step: int) -> None:
    """Steps that were done after the last saved state are done again: their old lines would be double."""
    kept = [row for row in read_metrics(path.parent) if row["step"] < first_step]
    write_whole(path, "".join(json.dumps(row) + "\n" for row in kept).encode())


def _tensorboard(folder: Path, first_step: int) -> Any:
    """A writer, or None where the package is not installed; the JSON lines hold the same numbers."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        logger.info("no TensorBoard log: pip install 'ovexport[train]'")
        return None
    return SummaryWriter(str(folder), purge_step=first_step)
