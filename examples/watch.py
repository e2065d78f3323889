"""Live video: a standing question about the last frames of a stream. Each frame is looked at once.

Here the stream is drawn: a square that comes nearer. A camera would be one more generator of frames, as files, bytes,
Pillow images or arrays.

    python examples/watch.py [BUNDLE]
"""

import sys
from collections.abc import Iterator

from PIL import Image, ImageDraw

from ovengines.home import newest_bundle
from ovrun import Session

bundle = sys.argv[1] if len(sys.argv) > 1 else newest_bundle()


def camera() -> Iterator[Image.Image]:
    for number in range(12):
        frame = Image.new("RGB", (104, 104), "white")
        ImageDraw.Draw(frame).rectangle((40 - 3 * number, 40 - 3 * number, 60 + 3 * number, 60 + 3 * number), "red")
        yield frame


with Session.open(bundle) as session:
    answers = session.watch(camera(), "What shape moves in the video?", window=4, every=3, max_new_tokens=16)
    for number, answer in enumerate(answers, start=1):
        print(f"after {3 * number} frames, of which {answer.tiles} are in the window: {answer.text}")
