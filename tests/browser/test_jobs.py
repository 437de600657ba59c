"""The jobs that people come with, from start to end, and that everybody can read every view.

Screenshots go where those of test_browser.py go.
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.support.accessibility import version, violations
from tests.support.browser import MARKS, PATIENCE, ROOT, Reader, downloaded, pictures, prefers, wait

pytestmark = [*MARKS, pytest.mark.long]

VIEWS = re.findall(r'^    View\("(\w+)"', (ROOT / "app" / "main.py").read_text(), re.MULTILINE)


def test_a_reviewer_decides_and_sends_the_link(reader: Reader, tmp_path: Path) -> None:
    reader.open("/review?slice_text=a")
    reader.find("input[aria-label='Question']").send_keys("May the *candidate* replace it?")
    reader.find(".st-key-reviewer input").send_keys("Ada")
    reader.click("[data-testid=stFormSubmitButton] button", lambda: "review=" in reader.url())
    reader.settle()
    assert "May the *candidate* replace it?" in reader.text()
    assert "slice_text=a" in reader.url(), "the review is judged on the prompts it was opened with"

    reader.find(".st-key-note_author input").send_keys("Bo")
    reader.find(".st-key-card_notes textarea").send_keys("Seen: <b>fine</b>.")
    send = ".st-key-card_notes [data-testid=stFormSubmitButton] button"
    reader.click(send, lambda: "Seen: <b>fine</b>." in reader.text())
    reader.shoot("job-decide")
    page = downloaded(reader, ".st-key-export_html button", tmp_path, "*.html").read_text()
    assert "127.0.0.1" not in page, "an address of this machine leads nobody else anywhere"
    assert "<code>models?" in page and "STEPSCOPE_ADDRESS" in page
    assert "Filters: slice_text = a." in page
    assert "Seen: &lt;b&gt;fine&lt;/b&gt;." in page
    markdown = downloaded(reader, ".st-key-export_markdown button", tmp_path, "*.md").read_text()
    assert "127.0.0.1" not in markdown
    assert "This review: review?review=" in markdown

    link = reader.url()
    reader.open(link.removeprefix(reader.address))
    assert "Seen: <b>fine</b>." in reader.text()

    reader.open("/review")
    reader.find("input[aria-label='Question']").send_keys("And the other way round?")
    reader.find(".st-key-reviewer input").send_keys("Ada")
    shown = "return !!document.querySelector('.st-key-note_author input')"
    send = "[data-testid=stFormSubmitButton] button"
    reader.click(send, lambda: reader.driver.execute_script(shown))


def choose_slice(reader: Reader, text: str) -> None:
    """Count only prompts that have a text."""
    reader.unfold("slice")
    reader.find(".st-key-slice_text input").send_keys(text + Keys.ENTER)
    wait(lambda: f"slice_text={text}" in reader.url(), reader.url)
    reader.settle()
    reader.fold()
    reader.settle()


def test_a_review_keeps_filters_that_were_chosen_on_its_page(reader: Reader) -> None:
    reader.open("/review")
    choose_slice(reader, "a")
    reader.find("input[aria-label='Question']").send_keys("On the prompts with an a?")
    reader.find(".st-key-reviewer input").send_keys("Ada")
    reader.click("[data-testid=stFormSubmitButton] button", lambda: "review=" in reader.url())
    reader.settle()
    assert "slice_text=a" in reader.url()
    assert "It was opened with different filters" not in reader.text()


def test_a_click_on_an_image_takes_along_the_filters_that_were_chosen(reader: Reader) -> None:
    reader.open("/")
    reader.choose("models", "Transformer")
    choose_slice(reader, "a")
    reader.click(
        ".st-key-gallery_sheet .steps-spot canvas", lambda: reader.title().startswith("Prompt ")
    )
    reader.settle()
    link = parse_qs(urlsplit(reader.url()).query)
    assert link["models"] == ["Transformer"] and link["slice_text"] == ["a"] and "prompt" in link


def test_an_author_leaves_with_a_figure(reader: Reader) -> None:
    reader.open("/figures?venue=ICML&columns=2&slice_text=a")
    wait(lambda: pictures(reader))
    text = reader.text()
    assert "--venue icml --columns 2" in text
    assert "--slice text=a" in text
    for ending in ("pdf", "svg", "png", "csv"):
        assert reader.find(f".st-key-file_{ending} button").is_enabled()
    reader.shoot("job-publish")


def test_an_old_link_to_a_figure_leads_to_it(reader: Reader) -> None:
    """The page *Figures* had the address `/publish`."""
    reader.open("/publish?venue=ICML&columns=2&models=UNet&models=Transformer&slice_text=a")
    wait(lambda: "/figures?" in reader.url(), reader.url)
    reader.settle()
    assert reader.title() == "Figures"
    link = parse_qs(urlsplit(reader.url()).query)
    assert link["models"] == ["UNet", "Transformer"] and link["columns"] == ["2"]
    for option in ("--venue icml --columns 2", "--models UNet Transformer", "--slice text=a"):
        assert option in reader.text()
    names = reader.driver.find_elements(By.CSS_SELECTOR, "[data-testid=stSidebarNavLink]")
    assert "publish" not in [name.text.lower() for name in names]


def test_a_researcher_compares_two_models_and_sees_why(reader: Reader) -> None:
    reader.open("/")
    reader.go("Models")
    reader.choose("baseline", "Transformer")
    reader.choose("candidate", "UNet (quarter)")
    reader.find(".st-key-step input").send_keys(Keys.ARROW_RIGHT)
    wait(lambda: "step=" in reader.url(), reader.url)
    reader.settle()
    assert "UNet (quarter) vs Transformer" in reader.text()
    assert f"At step {reader.find('.st-key-step input').get_attribute('value')}" in reader.text()
    reader.shoot("job-compare")

    second = ".st-key-side button:nth-of-type(2)"
    reader.click(second, lambda: "side=Baseline+better" in reader.url())
    reader.settle()
    reader.find(".st-key-most_images .steps-spot")
    reader.shoot("job-compare-prompts")
    reader.click(".st-key-most_images .steps-spot", lambda: reader.title().startswith("Prompt "))
    reader.settle()
    assert "prompt=" in reader.url()
    assert {"Transformer", "UNet (quarter)"} <= set(reader.text().splitlines())
    wait(
        lambda: len(pictures(reader)) >= 4,
        lambda: "both models' images, at the step and at the end",
    )
    reader.shoot("job-compare-prompt")


def test_the_overview_fits_a_phone(reader: Reader) -> None:
    width = 390
    screen = {"width": width, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    reader.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    reader.open("/")
    canvases = ".st-key-gallery_sheet .steps-spot canvas"
    wait(lambda: reader.driver.find_elements(By.CSS_SELECTOR, canvases))
    sides = "return [...document.querySelectorAll(arguments[0])].map(e => e.getBoundingClientRect().right)"
    for part in ("[data-testid=stHeading]", "[data-testid=stDataFrame]", "svg.marks"):
        ends = reader.driver.execute_script(sides, f"[data-testid=stMain] {part}")
        assert ends and max(ends) <= width, part
    assert reader.driver.execute_script("return document.documentElement.scrollWidth") <= width
    image = reader.find(canvases)
    assert image.rect["width"] > 60, "large enough to be seen"
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
    wait(lambda: reader.text() == before, lambda: changes(before, reader.text()))


def changes(before: str, after: str) -> str:
    """The lines that differ."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=0)
    return "\n".join(["the page differs after a reload", *lines])


CHIPS = "models=UNet&models=Transformer&seeds=1&candidates=Transformer"
"""Filters with something chosen, whose chips are read too."""
SCHEMES = {"light": (1280, 900), "dark": (1600, 1400)}
"""The colour schemes of a system, and the window in which each is looked at."""


def test_every_view_can_be_read(reader: Reader) -> None:
    """WCAG 2.2 AA by a current axe, in both schemes, chips of filters included; nothing is wider than the window."""
    assert tuple(map(int, version().split("."))) >= (4, 10)
    reader.driver.set_script_timeout(PATIENCE)
    problems = []
    for view in ("", *VIEWS[1:]):
        reader.open(f"/{view}?{CHIPS}")
        for scheme, size in SCHEMES.items():
            turn_to(reader, scheme, size)
            width = reader.driver.execute_script("return document.documentElement.scrollWidth")
            assert width <= size[0], (view, scheme)
            # Names and sizes do not change with the colours.
            rule = "color-contrast" if scheme == "dark" else ""
            problems += [(view, scheme, *each) for each in violations(reader.driver, rule)]
            reader.shoot(f"{scheme}-{view or 'overview'}")
    assert not problems


def turn_to(reader: Reader, scheme: str, size: tuple[int, int]) -> None:
    """Gives the window a size and the system a colour scheme, which an open page follows."""
    reader.driver.set_window_size(*size)
    prefers(reader.driver, scheme)
    wait(lambda: is_dark(reader.driver) == (scheme == "dark"), lambda: f"not {scheme}")
    reader.settle()


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
    reader.driver.execute_script(WATCH_CARDS)
    reader.find(".st-key-step input").send_keys(Keys.ARROW_RIGHT)
    wait(lambda: "step=" in reader.url(), reader.url)
    reader.settle()
    reader.choose("seeds", "1")
    seen = reader.driver.execute_script("return window.frames_seen")
    wait(lambda: reader.driver.execute_script("return window.frames_seen") > seen + 10)
    jumps = reader.driver.execute_script("return window.jumps")
    assert {card: px for card, px in jumps.items() if px > 1} == {}


def test_no_table_gives_its_rows_unchecked(reader: Reader) -> None:
    """Streamlit's own CSV of a table holds formulas: its button is off, the other buttons of a table are there."""
    reader.open("/prompts")
    table = reader.find("[data-testid=stDataFrame]")
    ActionChains(reader.driver).move_to_element(table).perform()
    names = "return [...document.querySelectorAll('[data-testid=stElementToolbarButton] button')].map(b => b.ariaLabel || b.innerText)"
    wait(lambda: any("ullscreen" in name for name in reader.driver.execute_script(names)))
    assert not [name for name in reader.driver.execute_script(names) if "ownload" in name or "CSV" in name]  # fmt: skip
    assert reader.find("[class*=st-key-csv_] button").is_enabled(), (
        "the card's own, which is harmless"
    )
