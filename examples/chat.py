"""A conversation: each turn reads only what is new, and its answer is printed as it comes.

python examples/chat.py [BUNDLE]
"""

import sys
from pathlib import Path

from ovengines.home import newest_bundle
from ovrun import Session

here = Path(__file__).parent
bundle = sys.argv[1] if len(sys.argv) > 1 else newest_bundle()

with Session.open(bundle) as session:
    chat = session.chat()
    for question, images in (
        ("How many shapes are there?", [here / "shapes.png"]),
        ("What color is the circle?", []),
        ("Describe this image.", [here / "tile.png"]),
    ):
        print(f"> {question}")
        answer = chat.ask(question, images, stream=True)
        for piece in answer:
            print(piece, end="", flush=True)
        print(f"   ({answer.result.reused_tokens} of {answer.result.prompt_tokens} tokens were there already)")
