"""The page in a real browser, headless Chromium.

SOFTGATE_SCREENSHOT=file.png and SOFTGATE_SCREENSHOT_PHONE=file.png keep screenshots of the page, SOFTGATE_PAGE_RUN=run
serves a trained run, and SOFTGATE_PAGE_PICTURE=file drops another image.
"""

import base64
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from served_page import Served

from softgate_ext.page.answer import SIDE
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
    captions = page.locator("#heatmaps figcaption").all_inner_texts()
    assert len(captions) == 14 and captions[0].startswith("right ankle")
    assert width(page, "#heatmaps img") == SIDE and width(page, "#gates img") > 500
    assert page.locator("#joints tbody tr").count() == 14
    with page.expect_download() as drawing:
        page.locator("#save").click()
    drawing.value.save_as(tmp_path / "pose.png")
    assert Image.open(tmp_path / "pose.png").size == Image.open(picture).size
    with page.expect_download() as download:
        page.locator("#download").click()
    download.value.save_as(tmp_path / "pose.json")
    (person,) = PosePredictor.from_pretrained(served.run, device="cpu")(picture)
    written = json.loads((tmp_path / "pose.json").read_text())
    people = written["people"]
    assert written["file"] == picture.name and download.value.suggested_filename.endswith(".json")
    assert len(people) == 1 and people[0]["box_xywh"] == list(person.box)
    for name, (x, y) in zip(person.names, person.joints, strict=True):
        assert abs(people[0]["joints"][name]["x"] - x) < 0.01
        assert abs(people[0]["joints"][name]["y"] - y) < 0.01
    if "SOFTGATE_SCREENSHOT" in os.environ:
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
    assert words.startswith("The file is not a picture that can be read; give JPEG")
    # The browser's side knows the limit too: nothing is sent.
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.method))
    (tmp_path / "large.jpg").write_bytes(bytes(300_000))
    drop(page, tmp_path / "large.jpg", "The file is too large; give one of up to 0.2 MB.")
    assert "POST" not in asked
    assert drop(page, picture, "mean score").startswith("1 person")  # it still works
    assert (
        drop(page, tmp_path / "text.jpg", "not a picture")
        and not page.locator("#pose img").is_visible()
    )
    page.close()


def test_a_picture_is_dropped_or_pasted(browser: Any, served: Served, picture: Path) -> None:
    page = browser.new_page()
    page.goto(served.address)
    data = base64.b64encode(picture.read_bytes()).decode()
    for kind, holder in (("drop", "dataTransfer"), ("paste", "clipboardData")):
        page.evaluate(
            """([data, kind, holder]) => {
                const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
                const carried = new DataTransfer();
                carried.items.add(new File([bytes], `${kind}.jpg`, {type: "image/jpeg"}));
                const Kind = kind === "drop" ? DragEvent : ClipboardEvent;
                const options = {bubbles: true, cancelable: true, [holder]: carried};
                document.querySelector("main").dispatchEvent(new Kind(kind, options));
            }""",
            [data, kind, holder],
        )
        page.locator(f"#download[download='{kind}.json']").wait_for()
        assert width(page, "#pose img") > 0
    page.close()


def test_the_keyboard_is_enough(browser: Any, served: Served, picture: Path) -> None:
    page = browser.new_page()
    page.goto(served.address)
    page.locator("#words", has_text="Drop a picture").wait_for(timeout=60_000)
    # Listened for before a key is pressed: a chooser that opens earlier is not told of.
    page.on("filechooser", lambda chooser: chooser.set_files(str(picture)))
    page.bring_to_front()  # a page that another one covers gets no keys
    page.keyboard.press("Tab")
    page.locator("#picture input:focus").wait_for(state="attached", timeout=60_000)
    page.keyboard.press("Space")
    page.locator("#words", has_text="mean score").wait_for(timeout=60_000)
    for _ in range(2):
        page.keyboard.press("Tab")
        with page.expect_download():
            page.keyboard.press("Enter")
    page.close()


def test_a_phone_shows_it_without_scrolling_sideways(
    browser: Any, served: Served, picture: Path
) -> None:
    page = browser.new_page(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    page.goto(served.address)
    drop(page, Path(os.environ.get("SOFTGATE_PAGE_PICTURE", picture)), "mean score")
    assert width(page, "#gates img") > 500
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    if "SOFTGATE_SCREENSHOT_PHONE" in os.environ:
        page.screenshot(path=os.environ["SOFTGATE_SCREENSHOT_PHONE"], full_page=True)
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
