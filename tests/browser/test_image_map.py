"""The map of images in headless Chromium: a dragged rectangle is the slice of every page."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By

from tests.support.accessibility import violations
from tests.support.browser import MARKS, Reader, prefers, wait

pytestmark = [*MARKS, pytest.mark.long]

PLOT = "[class*=st-key-chart_image_map] svg.marks"
REGION = ("slice_x_low", "slice_x_high", "slice_y_low", "slice_y_high")


def drag(reader: Reader, corner: tuple[int, int], size: tuple[int, int]) -> None:
    """Drag a rectangle over the map, from a corner seen from its middle, in px."""
    plot = reader.find(PLOT)
    reader.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", plot)
    hand = ActionChains(reader.driver).move_to_element_with_offset(plot, *corner).click_and_hold()
    hand.move_by_offset(*(each // 2 for each in size)).move_by_offset(*(each - each // 2 for each in size))  # fmt: skip
    hand.release().perform()


def region(reader: Reader) -> list[float]:
    link = parse_qs(urlsplit(reader.url()).query)
    return [float(link[key][0]) for key in REGION if key in link]


def test_a_dragged_rectangle_becomes_the_slice_of_every_page(reader: Reader) -> None:
    reader.open("/prompts")
    reader.click(".st-key-map label", lambda: "map=true" in reader.url())
    reader.settle()
    wait(lambda: reader.driver.find_elements(By.CSS_SELECTOR, f"{PLOT} image"))
    drag(reader, (-250, -150), (200, 300))
    wait(lambda: len(region(reader)) == 4, reader.url)
    reader.settle()
    first = region(reader)
    assert first[0] < first[1] and first[2] < first[3]
    assert "are of prompts that the slice leaves" in reader.text()
    reader.shoot("image-map-region")

    drag(reader, (0, -150), (250, 300))
    wait(lambda: region(reader) not in (first, []), reader.url)
    reader.settle()
    second = region(reader)
    assert second[0] > first[0], "the second rectangle began further right"
    reader.go("Models")
    assert region(reader) == second, "the next page has the same slice"

    reader.go("Prompts")
    reader.click(".st-key-chip_0 button", lambda: not region(reader))
    reader.settle()
    reader.click(".st-key-undo button", lambda: region(reader) == second)


def test_the_map_is_readable_in_both_schemes(reader: Reader) -> None:
    for scheme in ("light", "dark"):
        prefers(reader.driver, scheme)
        reader.open("/prompts?map=true&slice_y_high=0.0")
        wait(lambda: reader.driver.find_elements(By.CSS_SELECTOR, f"{PLOT} image"))
        assert not violations(reader.driver, "color-contrast")
        assert reader.driver.execute_script("return document.documentElement.scrollWidth") <= 1280
        reader.shoot(f"image-map-{scheme}")
