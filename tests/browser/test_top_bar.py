"""The bar at the top in headless Chromium: it fits, is kept in the link, and its link is copied with its snapshot."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.support.accessibility import violations
from tests.support.browser import MARKS, Reader, prefers, wait

pytestmark = [*MARKS, pytest.mark.long]

RULES = ("color-contrast", "label", "button-name", "aria-allowed-attr", "aria-valid-attr-value", "target-size")  # fmt: skip
"""Of axe's: those that a bar with its panels can break; charts are read in test_jobs.py."""
PANEL = """
const panel = document.querySelector('[data-testid=stPopoverBody]'), box = panel.getBoundingClientRect();
return [box.top, box.bottom, panel.scrollHeight - panel.clientHeight];
"""
COPIED = "return document.querySelector('.steps-copy').dataset.copied || ''"
ADDRESS = """
const [location, data, done] = arguments;
const file = performance.getEntriesByType('resource').map(each => each.name).find(each => each.includes('link.js'));
import(file).then(module => done(module.address(new URL(location), data)));
"""


def screen(reader: Reader, width: int, height: int) -> None:
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    reader.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


@pytest.mark.parametrize("panel", ["filters", "slice"])
def test_no_filter_needs_scrolling_at_720_pixels(panel: str, reader: Reader) -> None:
    """With as much chosen as makes the panel long."""
    screen(reader, 1280, 720)
    reader.open("/models?slice_by=final+similarity+to+the+prompt&slice_top=20&slice_text=a&seeds=1")
    reader.unfold(panel)
    top, bottom, hidden = reader.driver.execute_script(PANEL)
    reader.shoot(f"top-bar-{panel}")
    assert 0 <= top < bottom <= 720 and hidden <= 0


def test_the_bar_fits_a_phone(reader: Reader) -> None:
    screen(reader, 390, 844)
    reader.open("/models?slice_text=a&seeds=1")
    assert reader.driver.execute_script("return document.documentElement.scrollWidth") <= 390
    for part in ("top_bar", "chips"):
        box = reader.find(f".st-key-{part}").rect
        assert box["x"] >= 0 and box["x"] + box["width"] <= 390
    reader.shoot("top-bar-phone")


def test_the_pair_is_in_the_link_of_every_page(reader: Reader) -> None:
    reader.open("/")
    reader.choose("baseline", "Transformer")
    reader.choose("candidate", "UNet (quarter)")
    for title in ("Models", "Review", "Regions", "Figures"):
        reader.go(title)
        wait(lambda: "candidate=" in reader.url(), reader.url)
        link = parse_qs(urlsplit(reader.url()).query)
        assert link["baseline"] == ["Transformer"] and link["candidate"] == ["UNet (quarter)"]


def test_the_copied_link_shows_the_same_snapshot(reader: Reader) -> None:
    reader.open("/models?seeds=1&candidate=Transformer&step=3")
    sent = reader.text()
    reader.click(".steps-copy", lambda: reader.driver.execute_script(COPIED))
    link = str(reader.driver.execute_script(COPIED))
    assert parse_qs(urlsplit(link).query) == {
        "seeds": ["1"], "candidate": ["Transformer"], "step": ["3"], "snapshot": ["1"]
    }  # fmt: skip
    said = reader.find(".steps-said").text
    assert "nobody else" in said, "an address of this machine"
    reader.driver.get("about:blank")
    reader.open(link.removeprefix(reader.address))
    wait(
        lambda: reader.text().replace("Copied", "Copy link") == sent.replace(said, ""), reader.text
    )


@pytest.mark.parametrize(
    ("opened", "data", "expected"),
    [
        ("http://127.0.0.1:8501/lab/models?a=1", {"snapshot": 4, "address": "https://s.example.com/x"}, "https://s.example.com/x/models?a=1&snapshot=4"),
        ("http://127.0.0.1:8501/models?snapshot=2&a=1", {"snapshot": 4, "address": ""}, "http://127.0.0.1:8501/models?snapshot=4&a=1"),
        ("https://s.example.com/lab/#part", {"snapshot": 0, "address": ""}, "https://s.example.com/lab/"),
    ],
)  # fmt: skip
def test_the_link_has_the_public_address(
    opened: str, data: dict[str, object], expected: str, reader: Reader
) -> None:
    reader.open("/measures")
    assert reader.driver.execute_async_script(ADDRESS, opened, data) == expected


def test_a_click_in_a_chart_says_what_it_changed(reader: Reader) -> None:
    reader.open("/")

    def said() -> list[str]:
        toasts = reader.driver.find_elements(By.CSS_SELECTOR, "[data-testid=stToast]")
        return [toast.text for toast in toasts]

    reader.click(".st-key-chart_coverage .mark-rect path", lambda: "models=" in reader.url())
    wait(lambda: any("Models: " in each for each in said()), lambda: str(said()))
    reader.shoot("chart-click")
    wait(lambda: "Models: " in reader.find(".st-key-chip_0").text)
    reader.click(".st-key-undo button", lambda: "models=" not in reader.url())


def test_the_sql_editor_is_monospaced_and_has_a_run_button(reader: Reader) -> None:
    reader.open("/sql")
    font = "return getComputedStyle(document.querySelector('.st-key-q textarea')).fontFamily"
    assert "JetBrains Mono" in reader.driver.execute_script(font)
    reader.click(".st-key-run button", lambda: "Answer" in reader.text())
    assert "every seed counted" in reader.text(), "the example says what its rows are"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_bar_can_be_read_with_its_panels_open(scheme: str, reader: Reader) -> None:
    """WCAG AA contrast and names by axe, the chips of the multiselects included."""
    prefers(reader.driver, scheme)
    reader.open("/models?seeds=1&models=UNet&models=Transformer&slice_roles=subject")
    for panel in ("filters", "slice"):
        reader.unfold(panel)
        assert not [each for each in violations(reader.driver) if each[0] in RULES]
        reader.fold()


def test_the_bar_is_used_by_keyboard(reader: Reader) -> None:
    reader.open("/models?seeds=1")
    reader.find(".steps-copy").send_keys(Keys.ENTER)
    wait(lambda: reader.driver.execute_script(COPIED))
    reader.find(".st-key-chip_0 button").send_keys(Keys.ENTER)
    wait(lambda: "seeds=" not in reader.url(), reader.url)
