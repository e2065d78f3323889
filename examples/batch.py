"""Many questions, decoded together; each answer is there as soon as it is done, in any order.

python examples/batch.py [BUNDLE]
"""

import sys
from pathlib import Path

from ovengines.home import newest_bundle
from ovrun import OVError, Session

here = Path(__file__).parent
bundle = sys.argv[1] if len(sys.argv) > 1 else newest_bundle()
requests = [
    {"prompt": prompt, "images": [here / name], "max_new_tokens": 64}
    for name in ("shapes.png", "portrait.png", "tile.png", "missing.png")
    for prompt in ("Describe this image.", "How many shapes are there?")
]

with Session.open(bundle) as session:
    for number, answer in session.batch(requests, slots=4):
        picture = requests[number]["images"][0].name
        told = f"error: {answer}" if isinstance(answer, OVError) else answer.text
        print(f"{picture}: {told}")
