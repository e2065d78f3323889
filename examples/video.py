"""A question about a video, and one about a picture and a video together.

python examples/video.py [BUNDLE [VIDEO]]    VIDEO: a file, or a folder of frames
"""

import sys
from pathlib import Path

from ovengines.home import newest_bundle
from ovrun import Session

here = Path(__file__).parent
bundle = sys.argv[1] if len(sys.argv) > 1 else newest_bundle()
video = sys.argv[2] if len(sys.argv) > 2 else here / "clip.mp4"

with Session.open(bundle) as session:
    result = session.generate(prompt="What shape moves in the video?", video=video, num_frames=8)
    print(f"{result.text}   ({result.tiles} frames, {result.image_tokens} visual tokens)")

    question = "Is what <image> shows seen in <video>, too?"
    print(session.generate(prompt=question, images=[here / "tile.png"], video=video, num_frames=8).text)
