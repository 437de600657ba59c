"""The step component in headless Chromium: the step moves without the server, which is told when it rests."""

from __future__ import annotations

import time

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from tests.support.browser import MARKS, Reader, wait

pytestmark = [*MARKS, pytest.mark.long]

# Keeps what the page tells the server: how often it told a step, and, while the line is down, everything.
LINE = """
    window.moves = 0
    window.down = arguments[0]
    window.held = []
    const send = WebSocket.prototype.send
    WebSocket.prototype.send = function (data) {
        const told = new TextDecoder('latin1').decode(data).includes('moved')
        if (told) window.moves += 1
        if (window.down) window.held.push(Object.assign(() => send.call(this, data), {told}))
        else send.call(this, data)
    }
"""
LINE_UP = "window.down = false; for (const send of window.held) send()"
MOVE = """
    const [step, done] = arguments
    const slider = document.querySelector('.st-key-step input')
    slider.value = step
    slider.dispatchEvent(new Event('input', {bubbles: true}))
    const images = () => [...document.querySelectorAll('.steps-image')].map(each => each.toDataURL())
    const busy = () => document.querySelector('.steps-spot[aria-busy=true]')
    const settled = () => busy() ? requestAnimationFrame(settled) : done(images())
    requestAnimationFrame(() => requestAnimationFrame(settled))
"""
IMAGES = "return [...document.querySelectorAll('.steps-image')].map(each => each.toDataURL())"
LABELS = """
    return [...document.querySelectorAll('.steps-spot')].map(each =>
        [each.title, (each.querySelector('[aria-label]') ?? each).getAttribute('aria-label'), each.classList.contains('steps-here')])
"""
SCREEN = """
    const screen = document.querySelector('.steps-screen'), origin = screen.getBoundingClientRect()
    const ratio = screen.width / origin.width
    return [...document.querySelectorAll('.steps-image')].map(each => {
        const box = each.getBoundingClientRect()
        const [left, top, right, bottom] =
            [box.left - origin.left, box.top - origin.top, box.right - origin.left, box.bottom - origin.top].map(end => Math.round(end * ratio))
        const copy = new OffscreenCanvas(right - left, bottom - top), pen = copy.getContext('2d')
        pen.imageSmoothingEnabled = !each.classList.contains('steps-crisp')
        pen.imageSmoothingQuality = 'medium'
        pen.drawImage(each, 0, 0, copy.width, copy.height)
        const wanted = pen.getImageData(0, 0, copy.width, copy.height).data
        const seen = screen.getContext('2d').getImageData(left, top, copy.width, copy.height).data
        return Math.max(...wanted.map((value, i) => Math.abs(value - seen[i])))
    })
"""
PAINTED = """
    const all = [...document.querySelectorAll('.steps-image')]
    const busy = document.querySelectorAll('.steps-spot[aria-busy=true]').length
    return all.length && !busy && all.every(each => each.width !== 300)
"""


def painted(reader: Reader) -> list[str]:
    """The sheet's pictures, once all of them are there."""
    wait(lambda: reader.driver.execute_script(PAINTED))
    time.sleep(0.3)
    return list(reader.driver.execute_script(IMAGES))


def chosen(reader: Reader) -> int:
    return int(reader.find(".st-key-step input").get_attribute("value") or -1)


def test_the_step_moves_without_the_server_and_the_link_shows_the_same(reader: Reader) -> None:
    reader.open("/timesteps?step=2")
    before = painted(reader)
    reader.driver.execute_script(LINE, True)
    seen = [reader.driver.execute_async_script(MOVE, step) for step in (5, 8, 11)]
    assert len({tuple(each) for each in [before, *seen]}) == 4, "a picture waited for the server"
    assert "step=2" in reader.url()
    reader.driver.execute_script(LINE_UP)
    wait(lambda: "step=11" in reader.url(), reader.url)
    reader.settle()
    assert "Step 11 of 0 to 11" in reader.text()
    words = reader.words()
    reader.driver.refresh()
    reader.settle()
    assert painted(reader) == seen[-1]
    assert reader.words() == words


def test_a_move_told_before_the_answer_to_another_came_is_not_taken_back(reader: Reader) -> None:
    """Its message has the link from before both moves: a browser that is slow to read an answer sends such ones."""
    reader.open("/timesteps?step=2")
    painted(reader)
    reader.driver.execute_script(LINE, True)
    for number, step in enumerate((8, 11), start=1):
        reader.driver.execute_async_script(MOVE, step)
        wait(lambda number=number: reader.driver.execute_script("return moves") == number)
    # The page asks for its parts now and then too, so that the last message need not be a move.
    reader.driver.execute_script(
        "down = false; window.last = held.findLast(each => each.told); for (const send of held) if (send !== last) send()"
    )
    wait(lambda: "step=8" in reader.url(), reader.url)
    reader.settle()
    reader.driver.execute_script("last()")
    wait(lambda: "step=11" in reader.url(), reader.url)
    reader.settle()
    assert chosen(reader) == 11
    assert "Step 11 of 0 to 11" in reader.text()


@pytest.mark.parametrize("path", ["/timesteps?", "/timesteps?mode=Over+the+steps&"])
def test_labels_and_outlines_are_right_once_the_step_rests(reader: Reader, path: str) -> None:
    """Labels are written late: until then they are those of the step before."""
    reader.open(f"{path}step=11")
    painted(reader)
    wanted = reader.driver.execute_script(LABELS)
    assert all(title == label for title, label, _ in wanted)
    reader.open(f"{path}step=2")
    painted(reader)
    assert reader.driver.execute_script(LABELS) != wanted
    for step in (5, 8, 11):
        reader.driver.execute_async_script(MOVE, step)
    wait(lambda: reader.driver.execute_script(LABELS) == wanted)


PARTS = [".st-key-step input", ".steps-pictures", ".steps-copy"]
WATCH = """
    window.parts = arguments[0].map(part => document.querySelector(part))
    window.gone = 0
    const look = () => (gone += parts.filter(part => !part.isConnected).length)
    new MutationObserver(look).observe(document, {childList: true, subtree: true})
    parts[0].focus()
"""


def test_what_the_component_drew_stays_while_the_server_answers(reader: Reader) -> None:
    """Streamlit also cleans up after a message that the next one overtook: a slider that was drawn anew lost the focus."""
    reader.open("/timesteps?step=2")
    painted(reader)
    reader.driver.execute_script(WATCH, PARTS)
    for step in (5, 8):
        reader.driver.execute_async_script(MOVE, step)
        wait(lambda step=step: f"step={step}" in reader.url(), reader.url)
        reader.settle()
    assert reader.driver.execute_script("return gone") == 0
    assert reader.driver.execute_script("return document.activeElement === parts[0]")
    reader.go("Trust")
    left = "return parts.slice(0, 2).filter(part => part.isConnected).length"
    wait(lambda: reader.driver.execute_script(left) == 0)
    reader.go("Timesteps")
    assert [len(reader.driver.find_elements(By.CSS_SELECTOR, part)) for part in PARTS] == [1, 1, 1]


def test_one_canvas_shows_every_picture_where_it_is(reader: Reader) -> None:
    """What a reader sees is the sheet's canvas; the pictures' canvases have the images and the places."""
    reader.open("/timesteps?step=2")
    painted(reader)

    def shown() -> bool:
        return all(gap <= 8 for gap in reader.driver.execute_script(SCREEN))

    assert reader.find(".steps-image").value_of_css_property("visibility") == "hidden"
    assert shown()
    reader.driver.execute_async_script(MOVE, 8)
    wait(shown)
    Select(reader.find(".steps-tools [aria-label=Zoom]")).select_by_visible_text("2x")
    painted(reader)
    wait(shown)
    reader.driver.execute_script("document.querySelector('.steps-grid').scrollLeft = 100")
    reader.driver.execute_script(
        "document.querySelector('.steps-label').style.paddingRight = '60px'"
    )
    wait(shown)


def test_the_browsers_menu_is_that_of_the_picture(reader: Reader) -> None:
    """A click with the right button meets the picture's own canvas, which the menu offers to save."""
    reader.open("/timesteps")
    met = "addEventListener('contextmenu', event => (window.met = event.target.className), true)"
    reader.driver.execute_script(met)
    spot = reader.find(".steps-spot")
    ActionChains(reader.driver).context_click(spot).perform()
    wait(lambda: reader.driver.execute_script("return window.met"))
    assert "steps-image" in reader.driver.execute_script("return window.met")


def test_a_sheet_too_large_for_one_canvas_shows_its_pictures(reader: Reader) -> None:
    reader.open("/timesteps?step=2")
    painted(reader)
    metrics = {"width": 1280, "height": 900, "deviceScaleFactor": 4, "mobile": False}
    reader.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        Select(reader.find(".steps-tools [aria-label=Zoom]")).select_by_visible_text("4x")
        image = reader.find(".steps-image")
        wait(lambda: image.value_of_css_property("visibility") == "visible")
        assert (
            reader.driver.execute_script("return document.querySelector('.steps-screen').width")
            == 0
        )
    finally:
        reader.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_keys_move_the_step_but_not_while_one_writes(reader: Reader) -> None:
    reader.open("/timesteps?step=4")
    painted(reader)
    reader.find("h1").click()
    right = ActionChains(reader.driver).key_down(Keys.SHIFT).send_keys(Keys.ARROW_RIGHT)
    right.key_up(Keys.SHIFT).perform()
    wait(lambda: chosen(reader) == 5)
    wait(lambda: "step=5" in reader.url(), reader.url)
    reader.settle()
    field = reader.find(".st-key-shown input")
    field.send_keys("a" + Keys.SHIFT + Keys.ARROW_LEFT)
    assert chosen(reader) == 5
    field.send_keys(Keys.NULL + Keys.ESCAPE)
    slider = reader.find(".st-key-step input")
    assert slider.get_attribute("aria-label") == "Denoising step"
    slider.send_keys(Keys.END)
    wait(lambda: "step=11" in reader.url(), reader.url)
    assert slider.get_attribute("aria-valuetext") == "Step 11 of 0 to 11"


def test_play_runs_to_the_end_and_tells_the_server_once(reader: Reader) -> None:
    reader.open("/timesteps?step=0")
    painted(reader)
    reader.driver.execute_script(LINE, False)
    reader.find(".steps-play").click()
    wait(lambda: chosen(reader) == 11)
    wait(lambda: "step=11" in reader.url(), reader.url)
    assert reader.driver.execute_script("return window.moves") == 1
    assert reader.find(".steps-play").get_attribute("aria-label") == "Play the steps"


def compare(reader: Reader, mode: str) -> list[str]:
    Select(reader.find(".steps-tools [aria-label=Compare]")).select_by_visible_text(mode)
    return painted(reader)


def test_two_models_are_compared_by_wipe_flicker_and_difference(reader: Reader) -> None:
    reader.open("/timesteps?step=8")
    apart = painted(reader)
    prompts = len(reader.driver.find_elements(By.CSS_SELECTOR, ".steps-image")) // 3
    wiped = compare(reader, "Wipe")
    assert len(wiped) == prompts, "one picture of two models for each prompt"
    for position, kept in (("100", 0), ("0", 1)):
        slide = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'))"
        reader.driver.execute_script(slide, reader.find(".steps-wipe"), position)
        assert painted(reader) == apart[kept::3], "models are rows, prompts are columns"
    both = (apart[0::3], apart[1::3])
    seen = [compare(reader, "Flicker")]
    wait(lambda: seen.append(painted(reader)) or all(each in seen for each in both))
    assert all(each in both for each in seen)
    different = compare(reader, "Difference")
    assert different != apart[0::3]
    assert "pixelated" in reader.find(".steps-image").value_of_css_property("image-rendering")
