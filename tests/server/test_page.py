"""The page in a browser: a picture is chosen or dropped, tiles are drawn, tokens told, and the answer streams."""

from __future__ import annotations

import base64
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from PIL import Image
from running_server import EXAMPLES, Running, running, until

from ovrun.session import Session
from ovrun.tiling.grid import select_grid
from ovrun.tiling.plan import count_image_tokens

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
DROP = """
([name, type, content]) => {
  const bytes = Uint8Array.from(atob(content), (c) => c.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], name, { type }));
  document.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
}
"""

Open = Callable[..., Any]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="the package playwright is not installed")
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no browser is installed: none of {', '.join(BROWSERS)}")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def open_page(browser: Any, served: Running) -> Iterator[Open]:
    """Opens the page; in the end nothing has left the server's origin, and no script has failed."""
    asked: list[str] = []
    problems: list[str] = []
    contexts = []

    def open_at(url: str = served.url, **settings: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1180, "height": 760}, **settings})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "console", lambda message: problems.append(message.text) if "Content Security" in message.text else None
        )
        page.goto(url)
        return page

    yield open_at
    for context in contexts:
        context.close()
    assert problems == []
    elsewhere = [url for url in asked if urlsplit(url).scheme not in ("blob", "data") and "//127.0.0.1:" not in url]
    assert asked and elsewhere == []


def wait_for_text(page: Any, selector: str, text: str) -> None:
    """Playwright's own waiting evaluates text, which the page's policy forbids."""
    until(lambda: text in page.inner_text(selector))


def take_picture_of(page: Any, name: str) -> None:
    """For people to look at, where they ask for it."""
    if folder := os.environ.get("OV_SCREENSHOTS"):
        page.screenshot(path=f"{folder}/{name}.png", full_page=True)


@pytest.mark.parametrize("name", ["shapes.png", "portrait.png", "tile.png"])
def test_tiles_and_tokens_are_those_of_the_runtime(open_page: Open, session: Session, name: str) -> None:
    page = open_page()
    page.set_input_files("#file", EXAMPLES / name)
    page.wait_for_selector("#budget:not([hidden])")
    width_px, height_px = Image.open(EXAMPLES / name).size
    geometry = session.model.geometry
    rows, columns = select_grid(height_px, width_px, geometry)
    boxes = page.locator("#overlay rect.tile")
    assert boxes.count() == rows * columns
    first, stage = boxes.first.bounding_box(), page.locator("#image").bounding_box()
    assert first["width"] == pytest.approx(stage["width"] / columns, rel=0.1)
    assert first["height"] == pytest.approx(stage["height"] / rows, rel=0.1)
    tokens = count_image_tokens(height_px, width_px, geometry)
    base = geometry.patches_per_side**2
    assert page.locator("#legend .base dd").inner_text() == f"{base:,}"
    assert page.locator("#legend .grid dd").inner_text() == f"{tokens - base:,}"
    assert f"{rows} × {columns} tiles" in page.locator("#what").inner_text()
    take_picture_of(page, f"page-{name.removesuffix('.png')}")
    page.uncheck("#tiles")
    assert not page.locator("#overlay").is_visible()


def test_a_dropped_picture_is_answered(open_page: Open, alone: Session, picture: bytes) -> None:
    expected = alone.generate(prompt="Describe this image.", images=[picture])
    page = open_page()
    page.evaluate(DROP, ["shapes.png", "image/png", base64.b64encode(picture).decode()])
    page.wait_for_selector("#overlay rect")
    page.focus("#question")
    page.keyboard.press("Enter")
    wait_for_text(page, "#cost", "prompt tokens")
    assert page.locator("#answer").inner_text() == expected.text
    assert f"{expected.prompt_tokens} prompt tokens · {expected.completion_tokens} in the answer" in page.inner_text(
        "#cost"
    )
    take_picture_of(page, "page-answer")


def test_a_clip_shows_its_frames(open_page: Open, clip_file: Path) -> None:
    page = open_page()
    page.set_input_files("#file", clip_file)
    page.wait_for_selector("#budget:not([hidden])")
    assert page.locator("#frames").is_visible() and page.locator("#frames line").count() == 32
    assert "32 frames" in page.inner_text("#what") and not page.locator("#tiles").is_visible()
    page.click("#ask")
    wait_for_text(page, "#cost", "prompt tokens")
    take_picture_of(page, "page-clip")


def test_phone_width_and_the_dark(open_page: Open) -> None:
    page = open_page(viewport={"width": 360, "height": 740}, color_scheme="dark")
    page.set_input_files("#file", EXAMPLES / "portrait.png")
    page.wait_for_selector("#budget:not([hidden])")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(18, 23, 23)"
    take_picture_of(page, "page-phone-dark")


def test_the_answer_streams_and_can_be_stopped(open_page: Open, endless: Session) -> None:
    with running(endless) as served:
        page = open_page(served.url)
        page.fill("#question", "Talk.")
        page.click("#ask")
        until(lambda: len(page.inner_text("#answer")) > 20)
        early = page.inner_text("#answer")
        until(lambda: len(page.inner_text("#answer")) > len(early) + 20)
        assert page.inner_text("#answer").startswith(early.rstrip())
        page.click("#stop")
        page.wait_for_selector("#ask:enabled")
        assert page.inner_text("#cost") == "Stopped."


def test_errors_and_keys_are_for_people(open_page: Open, session: Session, tmp_path: Path) -> None:
    (tmp_path / "fake.png").write_bytes(b"no picture")
    with running(session, api_key="sesame") as served:
        page = open_page(served.url)
        page.wait_for_selector("#problem:not([hidden])")
        assert "API key" in page.inner_text("#problem") and page.locator("#key").is_visible()
        page.fill("#key", "sesame")
        page.keyboard.press("Tab")
        wait_for_text(page, "#model", "ov-tiny")
        page.set_input_files("#file", tmp_path / "fake.png")
        page.wait_for_selector("#problem:not([hidden])")
        assert "image" in page.inner_text("#problem")
        take_picture_of(page, "page-error")
