"""The page in a real browser: Chromium without a screen.

SOFTGATE_SCREENSHOT=file.png keeps a picture of the page, SOFTGATE_PAGE_RUN=run serves a trained
run, and SOFTGATE_PAGE_PICTURE=file drops another picture.
"""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from served_page import Served

from softgate_ext.prediction.predictor import PosePredictor

pytestmark = pytest.mark.slow
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="needs playwright: pip install playwright"
    )
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("needs chromium: apt-get install chromium")
    with playwright.sync_playwright() as tools:
        running = tools.chromium.launch(executable_path=chromium, args=QUIET)
        yield running
        running.close()


def drop(page: Any, picture: Path, words: str) -> str:
    """Gives the page a picture; the sentence with `words` that it answers with."""
    remove = page.locator("#picture button[aria-label='Clear'], #picture button[title='Clear']")
    if remove.count():
        remove.first.click()
    page.locator("#picture input[type=file]").set_input_files(str(picture))
    page.locator("#words", has_text=words).wait_for(timeout=60_000)
    return page.locator("#words").inner_text()


def width(page: Any, selector: str) -> int:
    """Of a picture in the page, once the browser has loaded it, in pixels."""
    script = "selector => document.querySelector(selector)?.naturalWidth"
    return page.wait_for_function(script, arg=selector, timeout=60_000).json_value()


def test_a_person_uses_the_page(
    browser: Any, served: Served, picture: Path, tmp_path: Path
) -> None:
    picture = Path(os.environ.get("SOFTGATE_PAGE_PICTURE", picture))
    page = browser.new_page(viewport={"width": 1280, "height": 1360})
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(served.address)
    page.locator("#words", has_text="Drop a picture").wait_for(timeout=60_000)

    words = drop(page, picture, "mean score")
    assert words.startswith("1 person in")
    assert width(page, "#pose img") > 0
    captions = page.locator("#heatmaps .caption-label").all_inner_texts()
    assert len(captions) == 14 and captions[0].startswith("right ankle")
    assert width(page, "#gates img") > 500
    with page.expect_download() as download:
        page.locator("#download").click()
    download.value.save_as(tmp_path / "pose.json")
    (person,) = PosePredictor.from_pretrained(served.run, device="cpu")(picture)
    people = json.loads((tmp_path / "pose.json").read_text())["people"]
    assert len(people) == 1 and people[0]["box_xywh"] == list(person.box)
    for name, (x, y) in zip(person.names, person.joints, strict=True):
        assert abs(people[0]["joints"][name]["x"] - x) < 0.01
        assert abs(people[0]["joints"][name]["y"] - y) < 0.01
    if "SOFTGATE_SCREENSHOT" in os.environ:
        page.wait_for_timeout(1500)  # until what has been drawn fades in
        page.screenshot(path=os.environ["SOFTGATE_SCREENSHOT"], full_page=True)
    # Nothing came from anywhere else.
    own = (f"{served.address}/", "data:", "blob:")
    assert asked and all(url.startswith(own) for url in asked), asked
    page.close()


def test_what_is_refused_is_one_sentence_in_the_page(
    browser: Any, served: Served, picture: Path, tmp_path: Path
) -> None:
    page = browser.new_page()
    page.goto(served.address)
    page.locator("#words", has_text="Drop a picture").wait_for(timeout=60_000)
    (tmp_path / "text.jpg").write_text("no picture")
    words = drop(page, tmp_path / "text.jpg", "not a picture")
    assert words.startswith("the file is not a picture that can be read; give JPEG")
    (tmp_path / "large.jpg").write_bytes(bytes(300_000))
    page.reload()
    page.locator("#words", has_text="Drop a picture").wait_for(timeout=60_000)
    page.locator("#picture input[type=file]").set_input_files(str(tmp_path / "large.jpg"))
    # The browser's side knows the limit too: nothing is sent.
    page.locator(".toast-body", has_text="exceed the maximum allowed size").wait_for(timeout=30_000)
    assert drop(page, picture, "mean score").startswith("1 person")  # it still works
    page.close()


def test_two_people_use_it_at_once(browser: Any, served: Served, picture: Path) -> None:
    pages = [browser.new_context().new_page() for _ in range(2)]
    for page in pages:
        page.goto(served.address)
        page.locator("#words", has_text="Drop a picture").wait_for(timeout=60_000)
    for page in pages:
        page.locator("#picture input[type=file]").set_input_files(str(picture))
    for page in pages:
        page.locator("#words", has_text="1 person").wait_for(timeout=60_000)
        page.context.close()
