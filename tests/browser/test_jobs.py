# ruff: noqa: F811  (fixtures that come from test_browser.py)
"""The jobs that people come with, from start to end, and that everybody can read every view.

Screenshots go where those of test_browser.py go.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import test_browser
from axe_core_python.selenium import Axe
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from test_browser import PATIENCE, ROOT, Reader, chrome, pictures, reader, server, wait  # noqa: F401

pytestmark = test_browser.pytestmark

AXE_RULES = ["color-contrast", "image-alt", "label", "button-name", "link-name"]
VIEWS = re.findall(r'^    View\("(\w+)"', (ROOT / "app" / "main.py").read_text(), re.MULTILINE)


def downloaded(reader: Reader, button: str, folder: Path, pattern: str) -> Path:
    """The file that a button gives."""
    allowed = {"behavior": "allow", "downloadPath": str(folder)}
    reader.driver.execute_cdp_cmd("Browser.setDownloadBehavior", allowed)
    reader.find(button).click()
    wait(lambda: list(folder.glob(pattern)), lambda: pattern)
    return next(folder.glob(pattern))


def test_a_reviewer_decides_and_sends_the_link(reader: Reader, tmp_path: Path) -> None:
    reader.open("/review?slice_text=a")
    reader.find("input[aria-label='Question']").send_keys("May the *candidate* replace it?")
    reader.find(".st-key-reviewer input").send_keys("Ada")
    reader.find("[data-testid=stFormSubmitButton] button").click()
    wait(lambda: "review=" in reader.url(), reader.url)
    reader.settle()
    assert "May the *candidate* replace it?" in reader.text()
    assert "slice_text=a" in reader.url(), "the review is judged on the prompts it was opened with"

    reader.find(".st-key-note_author input").send_keys("Bo")
    reader.find(".st-key-card_notes textarea").send_keys("Seen: <b>fine</b>.")
    reader.find(".st-key-card_notes [data-testid=stFormSubmitButton] button").click()
    wait(lambda: "Seen: <b>fine</b>." in reader.text(), reader.text)
    reader.shoot("job-decide")
    told = downloaded(reader, ".st-key-export_html button", tmp_path, "*.html").read_text()
    assert f'href="{reader.address}/models?' in told, "links that lead back from anywhere"
    assert "Filters: slice_text = a." in told
    assert "Seen: &lt;b&gt;fine&lt;/b&gt;." in told
    markdown = downloaded(reader, ".st-key-export_markdown button", tmp_path, "*.md").read_text()
    assert f"<{reader.address}/review?review=" in markdown

    link = reader.url()
    reader.open(link.removeprefix(reader.address))
    assert "Seen: <b>fine</b>." in reader.text()

    reader.open("/review")
    reader.find("input[aria-label='Question']").send_keys("And the other way round?")
    reader.find(".st-key-reviewer input").send_keys("Ada")
    reader.find("[data-testid=stFormSubmitButton] button").click()
    wait(lambda: reader.find(".st-key-note_author input"), lambda: "a second review isn't shown")


def test_an_author_leaves_with_a_figure(reader: Reader) -> None:
    reader.open("/publish?venue=ICML&columns=2&slice_text=a")
    assert pictures(reader)
    text = reader.text()
    assert "--venue icml --columns 2" in text
    assert "--slice text=a" in text
    for ending in ("pdf", "svg", "png", "csv"):
        assert reader.find(f".st-key-file_{ending} button").is_enabled()
    reader.shoot("job-publish")


def test_a_researcher_compares_two_models_and_sees_why(reader: Reader) -> None:
    reader.open("/")
    reader.go("Models")
    reader.choose("baseline", "Transformer")
    reader.choose("candidates", "UNet (quarter)")
    reader.find(".st-key-step input").send_keys(Keys.ARROW_RIGHT)
    wait(lambda: "step=" in reader.url(), reader.url)
    reader.settle()
    assert "UNet (quarter) vs Transformer" in reader.text()
    assert f"At step {reader.find('.st-key-step input').get_attribute('value')}" in reader.text()
    reader.shoot("job-compare")

    reader.find(".st-key-side button:nth-of-type(2)").click()
    wait(lambda: "side=Baseline+better" in reader.url(), reader.url)
    reader.settle()
    most = reader.find(".st-key-chart_most svg image")
    reader.shoot("job-compare-prompts")
    ActionChains(reader.driver).move_to_element(most).click().perform()
    wait(lambda: reader.title().startswith("Prompt "), reader.title)
    reader.settle()
    assert "prompt=" in reader.url()
    assert {"Transformer", "UNet (quarter)"} <= set(reader.text().splitlines())
    assert len(pictures(reader)) >= 4, "both models' images, at the step and at the end"
    reader.shoot("job-compare-prompt")


def test_the_overview_fits_a_phone(reader: Reader) -> None:
    width = 390
    screen = {"width": width, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    reader.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    reader.open("/")
    wait(lambda: reader.driver.find_elements(By.CSS_SELECTOR, ".st-key-chart_gallery svg image"))
    sides = "return [...document.querySelectorAll(arguments[0])].map(e => e.getBoundingClientRect().right)"
    for part in ("[data-testid=stMetric]", "[data-testid=stDataFrame]", "svg.marks"):
        ends = reader.driver.execute_script(sides, f"[data-testid=stMain] {part}")
        assert ends and max(ends) <= width, part
    assert reader.driver.execute_script("return document.documentElement.scrollWidth") <= width
    tops = "return [...document.querySelectorAll('[data-testid=stMetric]')].map(e => e.getBoundingClientRect().top)"
    assert len(set(reader.driver.execute_script(tops))) == 3, "a metric is below another"
    image = reader.find(".st-key-chart_gallery svg image")
    assert float(image.get_attribute("width") or 0) > 60, "large enough to be seen"
    reader.shoot("phone-overview")


STATES = (
    "/timesteps?step=3&slice_text=a&slice_fewest=3",
    "/models?step=2&seeds=1&slice_roles=subject",
    "/regions?step=1&seeds=0",
    "/words?step=5&slice_most=30",
    "/prompts?search=cat",
)


@pytest.mark.parametrize("state", STATES)
def test_a_link_shows_what_its_sender_saw(reader: Reader, state: str) -> None:
    """The URL sets the view, and the view keeps the URL."""
    reader.open(state)
    held = parse_qs(urlsplit(reader.url()).query)
    assert parse_qs(urlsplit(state).query).items() <= held.items()
    before = reader.text()
    reader.driver.refresh()
    reader.settle()
    assert parse_qs(urlsplit(reader.url()).query) == held
    wait(lambda: reader.text() == before, lambda: "the page differs after a reload")


@pytest.mark.parametrize(
    ("dark", "size"), [(False, (1280, 900)), (True, (1600, 1400))], ids=["light", "dark"]
)
def test_every_view_can_be_read(
    server: str,
    tmp_path: Path,
    dark: bool,
    size: tuple[int, int],
) -> None:
    """WCAG AA contrast, a name for every picture, button, link and field, by axe; nothing is wider than the window."""
    shots = Path(os.environ.get("STEPSCOPE_SCREENSHOTS", tmp_path / "shots"))
    driver = chrome(*size, dark=dark, profile=tmp_path / "profile")
    driver.set_script_timeout(PATIENCE)
    try:
        looking = Reader(driver, server, shots)
        # Streamlit writes a multiselect's chips in white on the primary colour: 3.1 to 1 in dark.
        context = {"exclude": [[".st-key-criteria"]]} if dark else None
        found = []
        for view in ("", *VIEWS[1:]):
            looking.open(f"/{view}")
            assert is_dark(driver) == dark
            assert driver.execute_script("return document.documentElement.scrollWidth") <= size[0]
            checked = Axe().run(driver, context, {"runOnly": AXE_RULES})
            for violation in checked["violations"]:
                for node in violation["nodes"]:
                    why = [check["message"] for check in node["any"]]
                    found.append((view, violation["id"], node["html"][:200], why))
            looking.shoot(f"{'dark' if dark else 'light'}-{view or 'overview'}")
        assert not found
    finally:
        driver.quit()


def is_dark(driver: object) -> bool:
    """Whether the page's background is."""
    colour = driver.execute_script(  # type: ignore[attr-defined]
        "return getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor"
    )
    return max(int(part) for part in colour.strip("rgba()").split(",")[:3]) < 64


WATCH_CARDS = """
const cards = () => [...document.querySelectorAll('[data-testid=stMain] [class*="st-key-card_"]')];
const key = card => [...card.classList].find(name => name.startsWith('st-key-card_'));
const first = document.querySelector('[data-testid=stMain] h1');
const top = card => card.getBoundingClientRect().top - first.getBoundingClientRect().top;
const start = Object.fromEntries(cards().map(card => [key(card), top(card)]));
window.jumps = {};
const look = () => {
  for (const card of cards()) {
    const moved = Math.abs(top(card) - start[key(card)]);
    if (moved > (window.jumps[key(card)] || 0)) window.jumps[key(card)] = moved;
  }
  window.frames_seen = (window.frames_seen || 0) + 1;
  requestAnimationFrame(look);
};
look();
"""
"""Notes, frame by frame, how far each card gets from where it stood below the title."""


@pytest.mark.parametrize("view", ["timesteps", "models"])
def test_no_card_moves_while_a_change_is_answered(reader: Reader, view: str) -> None:
    """Not even for a frame: neither by a spinner, nor by a chart that is drawn anew."""
    reader.open(f"/{view}")
    time.sleep(1.5)  # until the charts of the first look are drawn
    reader.driver.execute_script(WATCH_CARDS)
    reader.find(".st-key-step input").send_keys(Keys.ARROW_RIGHT)
    wait(lambda: "step=" in reader.url(), reader.url)
    reader.settle()
    reader.choose("seeds", "1")
    time.sleep(1.0)
    jumps, frames = reader.driver.execute_script("return [window.jumps, window.frames_seen]")
    assert frames > 10
    assert {card: px for card, px in jumps.items() if px > 1} == {}
