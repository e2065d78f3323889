"""Lines of text in pictures, one glyph after the other, so that the box of every character is known.

One font, the one that Pillow >= 10.1 brings along. Heights are those of a capital letter, so a "glyph of 12 px" is
12 px high. Knows nothing of what the text means; sits on family.py.
"""

from __future__ import annotations

from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

from ovengines.errors import ExitCode, OVError
from ovexport.train.drawn.family import Mark

Ink = tuple[int, int, int] | int  # RGB, or a grey level

_CAPITAL_SHARE = 0.7  # height of a capital in units of the font size
_GAP_SHARE = 0.06  # between glyphs, in units of the font size, beside the font's own
_STEP = 4  # font sizes are whole quarters of a pixel, so that few fonts are ever made
_BOLD_SHARE = 0.04  # every glyph is drawn twice, this far apart: the font has no bold, and its stems are thin
_MINUS = ("_", 0.31)  # the font's hyphen is too short: an underscore, raised by this share of the font size


@lru_cache(maxsize=512)
def _font(quarters: int) -> ImageFont.FreeTypeFont:
    try:
        font = ImageFont.load_default(size=quarters / _STEP)
    except (ImportError, TypeError) as err:  # built without FreeType, or older than 10.1
        hint = "pip install 'pillow>=10.1'"
        raise OVError(ExitCode.MISSING_DEPENDENCY, "this Pillow has no font to draw text with", hint) from err
    assert isinstance(font, ImageFont.FreeTypeFont)  # it is, whenever a size is given
    return font


def _face(char: str) -> tuple[str, float]:
    return _MINUS if char == "-" else (char, 0.0)


def _stamp(pen: ImageDraw.ImageDraw, char: str, quarters: int, left: int, baseline: int, fill: Ink) -> None:
    face, raised = _face(char)
    size_px = quarters / _STEP
    for shift_px in (0.0, _BOLD_SHARE * size_px):
        at = left + shift_px, baseline - round(raised * size_px)
        pen.text(at, face, font=_font(quarters), fill=fill, anchor="ls")


@lru_cache(maxsize=16384)
def _glyph(quarters: int, char: str) -> tuple[float, tuple[int, int, int, int]]:
    """Advance, and the box of the ink relative to a pen on the baseline."""
    side = 2 * quarters  # ample: several times the font size
    scratch = Image.new("L", (side, side))
    _stamp(ImageDraw.Draw(scratch), char, quarters, side // 2, side // 2, 255)
    x0, y0, x1, y1 = (edge - side // 2 for edge in scratch.getbbox() or (0, 0, 0, 0))
    return _font(quarters).getlength(_face(char)[0]) + _BOLD_SHARE * quarters / _STEP, (x0, y0, x1, y1)


def _quarters(capital_px: float) -> int:
    return max(1, round(_STEP * capital_px / _CAPITAL_SHARE))


def width_px(text: str, capital_px: float) -> float:
    """Width of the line, without a gap behind the last glyph."""
    quarters = _quarters(capital_px)
    gap = _GAP_SHARE * quarters / _STEP
    return sum(_glyph(quarters, char)[0] + gap for char in text) - gap


def fitting(text: str, capital_px: float, room_px: float) -> float:
    """The height of capitals, made smaller until the line is no wider than the room."""
    while width_px(text, capital_px) > room_px:
        capital_px -= _CAPITAL_SHARE / _STEP
    return capital_px


def write(
    image: Image.Image,
    text: str,
    *,
    x_px: float,
    y_px: float,
    capital_px: float,
    rgb: Ink,
    colour: str,
) -> tuple[Mark, ...]:
    """Draws the line with the top left of its capitals at (x, y); one mark, called `colour`, per character."""
    quarters = _quarters(capital_px)
    gap = _GAP_SHARE * quarters / _STEP
    pen = ImageDraw.Draw(image)
    baseline = round(y_px + capital_px)
    marks = []
    for char in text:
        advance, (x0, y0, x1, y1) = _glyph(quarters, char)
        left = round(x_px)  # whole pixels: stems stay sharp
        _stamp(pen, char, quarters, left, baseline, rgb)
        marks.append(
            Mark(x0_px=left + x0, y0_px=baseline + y0, x1_px=left + x1, y1_px=baseline + y1, what=char, colour=colour)
        )
        x_px += advance + gap
    return tuple(marks)


def write_centred(
    image: Image.Image,
    text: str,
    *,
    x_px: float,
    y_px: float,
    capital_px: float,
    rgb: Ink,
    colour: str,
) -> tuple[Mark, ...]:
    """As `write`, with (x, y) in the middle of the line."""
    left, top = x_px - width_px(text, capital_px) / 2, y_px - capital_px / 2
    return write(image, text, x_px=left, y_px=top, capital_px=capital_px, rgb=rgb, colour=colour)
