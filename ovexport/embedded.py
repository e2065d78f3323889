"""Where the default model is: ov-tiny, trained by this project and shipped inside the package."""

from pathlib import Path

NAME = "ov-tiny"
EMBEDDED_MODEL = Path(__file__).parent / "assets" / NAME


def find_model(name: str | None) -> str | Path:
    """What `MODEL` on a command line means: nothing, or ov-tiny where there is no such folder, is the embedded one."""
    return EMBEDDED_MODEL if name is None or (name == NAME and not Path(name).exists()) else name
