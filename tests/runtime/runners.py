"""The types of the fixtures that run command lines in this process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Run = Callable[..., tuple[int, str, str]]
Batch = Callable[..., tuple[int, list[dict[str, Any]], str]]
Talk = Callable[..., tuple[int, list[Any], str]]
