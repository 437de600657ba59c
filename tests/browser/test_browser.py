"""The main way through the app in headless Chromium: filters, step, search, prompt, models.

Screenshots go to the folder that STEPSCOPE_SCREENSHOTS names; without it none are taken.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from tests.support.browser import MARKS, Reader, pictures, wait

pytestmark = [*MARKS, pytest.mark.long]


def test_the_main_way(reader: Reader) -> None:
    reader.open("/")
    assert "Which model follows its prompts better" in reader.text()
    reader.shoot("1-overview")

    reader.choose("seeds", "1")
    reader.go("Timesteps")
    assert "seeds=1" in reader.url()

    before = reader.text()
    reader.find(".st-key-step input").send_keys(Keys.ARROW_RIGHT)
    wait(lambda: "step=" in reader.url(), reader.url)
    wait(lambda: reader.text() != before, lambda: "the page stayed as it was")
    reader.settle()
    reader.shoot("2-timesteps")

    step = reader.find(".st-key-step input").get_attribute("value")
    reader.driver.refresh()
    reader.settle()
    assert "seeds=1" in reader.url()
    assert reader.find(".st-key-step input").get_attribute("value") == step

    reader.go("Prompts")
    search = reader.find(".st-key-search input")
    search.send_keys("cat" + Keys.ENTER)
    wait(lambda: "search=cat" in reader.url(), reader.url)
    reader.settle()
    reader.shoot("3-prompts")
    open_first_row(reader)
    reader.settle()
    assert "At the step" in reader.text()
    assert "seeds=1" in reader.url()
    reader.shoot("4-prompt")

    link = reader.url()
    reader.driver.refresh()
    reader.settle()
    assert reader.title().startswith("Prompt ")
    assert reader.url() == link

    reader.go("Models")
    assert "seeds=1" in reader.url()
    assert f"step={step}" in reader.url()
    assert "What differs" in reader.text()
    reader.shoot("5-models")


def open_first_row(reader: Reader) -> None:
    """Select the first row of the table; it is drawn on a canvas, so by its position."""
    selector = "[data-testid=stDataFrame] canvas"
    size = reader.find(selector).size
    row = (14 - size["width"] // 2, 70 - size["height"] // 2)
    reader.click(selector, lambda: reader.title().startswith("Prompt "), at=row)


def test_a_click_on_an_image_opens_its_prompt_and_back(reader: Reader) -> None:
    reader.open("/?seeds=1")
    reader.click(".st-key-gallery_sheet .steps-spot canvas", lambda: "prompt=" in reader.url())
    reader.settle()
    assert reader.title().startswith("Prompt ")
    assert "seeds=1" in reader.url()
    reader.click(".st-key-back button", lambda: reader.title() == "Prompts")
    assert "prompt=" not in reader.url()


def test_a_click_in_a_film_strip_and_the_keyboard_move_the_step(reader: Reader) -> None:
    reader.open("/timesteps?mode=Over+the+steps")
    reader.click("[class*=st-key-strip] .steps-spot canvas", lambda: "step=0" in reader.url())
    reader.settle()
    reader.find("h1").click()
    shifted = ActionChains(reader.driver).key_down(Keys.SHIFT).send_keys(Keys.ARROW_RIGHT)
    shifted.key_up(Keys.SHIFT).perform()
    wait(lambda: "step=1" in reader.url(), reader.url)


def test_a_click_in_a_chart_sets_its_control_and_the_url(reader: Reader) -> None:
    reader.open("/timesteps")
    cell(reader, "heat", 43, lambda: "step=" in reader.url() and "concepts=" in reader.url())
    reader.settle()
    chosen = step_of(reader)
    concept = parse_qs(urlsplit(reader.url()).query)["concepts"][0]
    assert concept in reader.find(".st-key-concepts").text

    reader.find(".st-key-step input").send_keys(Keys.ARROW_RIGHT)
    wait(lambda: step_of(reader) == chosen + 1, reader.url)
    reader.settle()
    cell(reader, "heat", 43, lambda: step_of(reader) == chosen)

    curves = ".st-key-chart_predict [data-testid=stVegaLiteChart] svg"
    reader.click(curves, lambda: step_of(reader) > chosen, at=(130, 20))

    reader.open("/")
    cell(reader, "coverage", 0, lambda: "models=" in reader.url())
    cell(reader, "coverage", 0, lambda: "models=" not in reader.url())


def step_of(reader: Reader) -> int:
    return int(reader.find(".st-key-step input").get_attribute("value") or -1)


def cell(reader: Reader, chart: str, number: int, answered: Callable[[], object]) -> None:
    """Click one of a chart's rectangles."""
    reader.click(f".st-key-chart_{chart} .mark-rect path", answered, number)


EXPLAIN = ("Regions", "Words", "Schedules", "Paths", "Faithfulness", "Trust")


def test_the_explain_views_follow_the_step_and_keep_the_filters(reader: Reader) -> None:
    reader.open("/regions?seeds=1&step=2")
    for title in EXPLAIN:
        reader.go(title)
        assert reader.title() == title
        assert "seeds=1" in reader.url()
        assert reader.find("[data-testid=stMain] svg, img, canvas")
        reader.shoot(f"explain-{title.lower()}")
    reader.go("Regions")
    before = pictures(reader)
    reader.find(".st-key-step input").send_keys(Keys.ARROW_RIGHT)
    wait(lambda: "step=3" in reader.url(), reader.url)
    wait(lambda: pictures(reader) != before, lambda: "the maps stayed as they were")
