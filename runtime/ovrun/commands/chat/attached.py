"""The images and the video that go with the next turn. What can't be used is refused when it is attached."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ovengines.errors import ExitCode, OVError
from ovrun.commands.flags import check_images


class Attached:
    """Paths, absolute, so that a saved conversation finds them from anywhere."""

    def __init__(self) -> None:
        self.images: list[str] = []
        self.video: str | None = None

    def __bool__(self) -> bool:
        return bool(self.images or self.video)

    def __str__(self) -> str:
        images = f"{len(self.images)} image{'s' if len(self.images) > 1 else ''}"
        return ", ".join([*([images] if self.images else []), *(["1 video"] if self.video else [])])

    def add_images(self, names: Sequence[str]) -> None:
        """All of them or, if one can't be used, none. Raises OVError as `load_image`, and USAGE for a video."""
        from ovrun.media.image import load_image

        check_images(names, "/video")
        paths = [_absolute(name) for name in names]
        for path in paths:
            load_image(path)
        self.images += paths

    def add_video(self, name: str) -> None:
        """Looks at one frame. Raises OVError as `load_clip`, and USAGE for a second video."""
        from ovrun.media.clip import FrameSampling, load_clip

        if self.video is not None:
            raise OVError(ExitCode.USAGE, "a turn has one video", "ask about the first one, then attach the second")
        path = _absolute(name)
        load_clip(path, FrameSampling(num_frames=1))
        self.video = path

    def clear(self) -> None:
        self.images, self.video = [], None


def _absolute(name: str) -> str:
    return os.path.abspath(os.path.expanduser(name))
