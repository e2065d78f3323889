"""How long each of several PyTorch modules takes within a larger run, by hooks around them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any


@contextmanager
def timed_stages(modules: Mapping[str, Any]) -> Iterator[dict[str, float]]:
    """Milliseconds by name, of the last call of each; on a device what the host spends, which waits for nothing."""
    began: dict[str, float] = {}
    spent: dict[str, float] = {}

    def begin(name: str) -> Any:
        return lambda *_: began.update({name: time.perf_counter()})

    def end(name: str) -> Any:
        return lambda *_: spent.update({name: (time.perf_counter() - began[name]) * 1e3})

    hooks = [module.register_forward_pre_hook(begin(name)) for name, module in modules.items()]
    hooks += [module.register_forward_hook(end(name)) for name, module in modules.items()]
    try:
        yield spent
    finally:
        for hook in hooks:
            hook.remove()
