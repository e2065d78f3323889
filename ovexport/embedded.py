"""Where the default model is: ov-tiny, trained by this project and shipped inside the package."""

from pathlib import Path

EMBEDDED_MODEL = Path(__file__).parent / "assets" / "ov-tiny"
