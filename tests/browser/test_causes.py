"""Causes in a browser: the timeline is drawn, and a click on a point shows the images of that switch."""

from __future__ import annotations

import pytest
from selenium.webdriver.common.by import By

from tests.support.browser import MARKS, Reader, wait

pytestmark = [*MARKS, pytest.mark.long]

POINTS = ".st-key-card_causes .mark-symbol path"
CURVES = ".st-key-chart_causes_success [data-testid=stVegaLiteChart] svg"
MARKED = ".st-key-switch_sheet .steps-label:has(.steps-dot)"


def marked(reader: Reader) -> set[str]:
    """The steps whose images are marked, a column each."""
    script = "return [...document.querySelectorAll(arguments[0])].map(each => each.innerText)"
    return set(reader.driver.execute_script(script, MARKED))


def test_a_click_on_a_point_shows_the_images_of_that_switch(reader: Reader) -> None:
    reader.open("/causes")
    wait(lambda: reader.driver.find_elements(By.CSS_SELECTOR, POINTS))
    wait(lambda: marked(reader) == {"Step 6"})
    reader.click(CURVES, lambda: marked(reader) == {"Step 8"}, at=(130, 20))
    wait(lambda: "switch_step=8" in reader.url(), reader.url)
    reader.find(".st-key-switch_sheet .steps-spot")
    reader.shoot("causes")
    reader.open(reader.url().removeprefix(reader.address))
    wait(lambda: marked(reader) == {"Step 8"})
