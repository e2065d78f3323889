"""Several pictures in one question: as they are, in places of the text, and in more detail.

python examples/images.py [BUNDLE]
"""

import sys
from pathlib import Path

from ovengines.home import newest_bundle
from ovrun import Session

here = Path(__file__).parent
bundle = sys.argv[1] if len(sys.argv) > 1 else newest_bundle()
pictures = [here / "shapes.png", here / "tile.png"]

with Session.open(bundle) as session:
    result = session.generate(prompt="How many shapes are there?", images=pictures)
    print(f"{result.text}   ({result.image_tokens} visual tokens: one view each, as the model was trained)")

    result = session.generate(prompt="First <image>, then <image>: which one has a circle?", images=pictures)
    print(f"{result.text}   (pictures stand where the text says <image>)")

    result = session.generate(prompt="How many shapes are there?", images=pictures, anyres_multi=True)
    print(f"{result.text}   ({result.image_tokens} visual tokens: each picture tiled)")
