"""The example asks a server as its docstring says."""

from __future__ import annotations

import os
import subprocess
import sys

from running_server import EXAMPLES, Running

from ovrun.session import Session


def test_the_example_client(served: Running, alone: Session, picture: bytes) -> None:
    expected = alone.generate(prompt="How many shapes are there?", images=[picture])
    done = subprocess.run(
        [sys.executable, EXAMPLES / "serve_client.py", EXAMPLES / "shapes.png", "How many shapes are there?"],
        env={**os.environ, "OPENAI_BASE_URL": f"{served.url}/v1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    tokens = f"({expected.prompt_tokens} tokens read, {expected.completion_tokens} written)"
    assert done.stdout == f"{expected.text}\n{tokens}\n"
