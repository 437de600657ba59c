"""The main way through the app in headless Chromium: filters, step, search, prompt, models.

Screenshots go to the folder that STEPSCOPE_SCREENSHOTS names, else to the test's own folder.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
CHROMEDRIVER = shutil.which("chromedriver")
PATIENCE = 60.0

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        not (CHROMIUM and CHROMEDRIVER),
        reason="needs chromium and chromedriver on PATH (Debian: apt-get install chromium "
        "chromium-driver)",
    ),
]


@pytest.fixture(scope="module")
def server(results: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The app's address, served as a user would."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "log.txt"
    command = [sys.executable, "-m", "streamlit", "run", "app/main.py", "--server.port", str(port)]
    command += ["--server.address", "127.0.0.1", "--", str(results)]
    with log.open("w") as out:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
    address = f"http://127.0.0.1:{port}"
    try:
        wait(lambda: healthy(address), log.read_text)
        yield address
    finally:
        process.terminate()
        process.wait(20)


def healthy(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/_stcore/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def wait(ready: Callable[[], object], why: Callable[[], str] = lambda: "") -> None:
    """Wait until something is true; a moment that fails is no answer yet."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            if ready():
                return
        except Exception:
            pass
        time.sleep(0.2)
    pytest.fail(f"waited {PATIENCE:.0f} s in vain. {why()}")


class Reader:
    """A person at the browser."""

    def __init__(self, driver: webdriver.Chrome, address: str, shots: Path) -> None:
        self.driver, self.address, self.shots = driver, address, shots

    def open(self, path: str) -> None:
        self.driver.get(self.address + path)
        self.settle()

    def settle(self) -> None:
        """Wait until the script is done and stays done."""
        state = "return document.querySelector('[data-testid=stApp]').dataset.testScriptState"
        wait(lambda: self.driver.execute_script(state) == "notRunning")
        time.sleep(0.6)
        wait(lambda: self.driver.execute_script(state) == "notRunning")
        assert not self.driver.find_elements(By.CSS_SELECTOR, "[data-testid=stException]")

    def find(self, selector: str) -> WebElement:
        wait(lambda: self.driver.find_elements(By.CSS_SELECTOR, selector), lambda: selector)
        return self._shown(self.driver.find_element(By.CSS_SELECTOR, selector))

    def _shown(self, element: WebElement) -> WebElement:
        """The element, scrolled to: the sidebar is longer than a small window."""
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        return element

    def go(self, title: str) -> None:
        """Follow the navigation."""
        link = f"//a[@data-testid='stSidebarNavLink'][contains(., '{title}')]"
        self._shown(self.driver.find_element(By.XPATH, link)).click()
        wait(lambda: self.title() != "")
        self.settle()

    def title(self) -> str:
        return self.find("h1").text

    def text(self) -> str:
        return self.find("[data-testid=stMain]").text

    def url(self) -> str:
        return str(self.driver.current_url)

    def choose(self, key: str, option: str) -> None:
        """Add an option to a filter of the sidebar."""
        field = self.find(f".st-key-{key} input")
        field.click()
        field.send_keys(option)
        time.sleep(0.4)
        field.send_keys(Keys.ENTER)
        field.send_keys(Keys.ESCAPE)
        wait(lambda: f"{key}=" in self.url(), self.url)
        self.settle()

    def shoot(self, name: str) -> None:
        self.shots.mkdir(parents=True, exist_ok=True)
        self.driver.save_screenshot(str(self.shots / f"{name}.png"))


def chrome(width: int, height: int, *, dark: bool, profile: Path) -> webdriver.Chrome:
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    flags = "headless=new no-sandbox disable-gpu disable-quic no-first-run hide-scrollbars "
    flags += "disable-sync disable-background-networking disable-component-update "
    flags += "disable-dev-shm-usage"
    for flag in flags.split():
        options.add_argument(f"--{flag}")
    options.add_argument(f"--window-size={width},{height}")
    options.add_argument(f"--user-data-dir={profile}")
    driver = webdriver.Chrome(options=options, service=Service(str(CHROMEDRIVER)))
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    return driver


@pytest.fixture
def reader(server: str, tmp_path: Path) -> Iterator[Reader]:
    driver = chrome(1280, 900, dark=False, profile=tmp_path / "profile")
    yield Reader(driver, server, Path(os.environ.get("STEPSCOPE_SCREENSHOTS", tmp_path / "shots")))
    driver.quit()


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
    reader.settle()
    assert reader.text() != before
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
    wait(lambda: reader.title().startswith("Prompt "), reader.title)
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
    """Select the first row of the table; it is drawn on a canvas, so by its place."""
    canvas = reader.find("[data-testid=stDataFrame] canvas")
    reader.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
    time.sleep(0.5)
    size = canvas.size
    actions = ActionChains(reader.driver)
    actions.move_to_element_with_offset(canvas, 14 - size["width"] // 2, 70 - size["height"] // 2)
    actions.click().perform()


def test_a_click_on_an_image_opens_its_prompt_and_back(reader: Reader) -> None:
    reader.open("/?seeds=1")
    image = reader.find(".st-key-chart_gallery svg image")
    reader.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", image)
    time.sleep(0.5)
    ActionChains(reader.driver).move_to_element(image).click().perform()
    wait(lambda: "prompt=" in reader.url(), reader.url)
    reader.settle()
    assert reader.title().startswith("Prompt ")
    assert "seeds=1" in reader.url()
    reader.find(".st-key-back button").click()
    wait(lambda: reader.title() == "Prompts", reader.title)
    assert "prompt=" not in reader.url()


def test_a_click_in_a_film_strip_and_the_keyboard_move_the_step(reader: Reader) -> None:
    reader.open("/timesteps?mode=Over+the+steps")
    frames = reader.driver.find_elements(By.CSS_SELECTOR, "[class*=st-key-chart_strip] svg image")
    assert frames
    reader.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", frames[0])
    time.sleep(0.5)
    ActionChains(reader.driver).move_to_element(frames[0]).click().perform()
    wait(lambda: "step=0" in reader.url(), reader.url)
    reader.settle()
    reader.find("h1").click()
    shifted = ActionChains(reader.driver).key_down(Keys.SHIFT).send_keys(Keys.ARROW_RIGHT)
    shifted.key_up(Keys.SHIFT).perform()
    wait(lambda: "step=1" in reader.url(), reader.url)


def test_a_click_in_a_chart_sets_its_control_and_the_url(reader: Reader) -> None:
    reader.open("/timesteps")
    cell(reader, "heat", 43)
    wait(lambda: "step=" in reader.url() and "concepts=" in reader.url(), reader.url)
    reader.settle()
    chosen = step_of(reader)
    concept = parse_qs(urlsplit(reader.url()).query)["concepts"][0]
    assert concept in reader.find(".st-key-concepts").text

    reader.find(".st-key-step input").send_keys(Keys.ARROW_RIGHT)
    wait(lambda: step_of(reader) == chosen + 1, reader.url)
    reader.settle()
    cell(reader, "heat", 43)
    wait(lambda: step_of(reader) == chosen, reader.url)
    reader.settle()

    curves = reader.find(".st-key-chart_predict [data-testid=stVegaLiteChart] svg")
    time.sleep(0.5)
    beside = ActionChains(reader.driver).move_to_element_with_offset(curves, 130, 20)
    beside.click().perform()
    wait(lambda: step_of(reader) > chosen, reader.url)

    reader.open("/")
    cell(reader, "coverage", 0)
    wait(lambda: "models=" in reader.url(), reader.url)
    reader.settle()
    cell(reader, "coverage", 0)
    wait(lambda: "models=" not in reader.url(), reader.url)


def step_of(reader: Reader) -> int:
    return int(reader.find(".st-key-step input").get_attribute("value") or -1)


def cell(reader: Reader, chart: str, number: int) -> None:
    """Click one of a chart's rectangles."""
    place = f".st-key-chart_{chart} .mark-rect path"
    wait(lambda: len(reader.driver.find_elements(By.CSS_SELECTOR, place)) > number, lambda: place)
    mark = reader.driver.find_elements(By.CSS_SELECTOR, place)[number]
    reader.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", mark)
    time.sleep(0.5)
    ActionChains(reader.driver).move_to_element(mark).click().perform()


EXPLAIN = ("Regions", "Words", "Schedules", "Paths", "Faithfulness", "Trust")


def test_the_explain_views_follow_the_step_and_keep_the_filters(reader: Reader) -> None:
    reader.open("/regions?seeds=1&step=2")
    for title in EXPLAIN:
        reader.go(title)
        assert reader.title() == title
        assert "seeds=1" in reader.url()
        assert reader.driver.find_elements(By.CSS_SELECTOR, "[data-testid=stMain] svg, img, canvas")
        reader.shoot(f"explain-{title.lower()}")
    reader.go("Regions")
    before = pictures(reader)
    reader.find(".st-key-step input").send_keys(Keys.ARROW_RIGHT)
    wait(lambda: "step=3" in reader.url(), reader.url)
    wait(lambda: pictures(reader) != before, lambda: "the maps stayed as they were")


def pictures(reader: Reader) -> list[str]:
    """The sources of all pictures on the page, in charts and outside."""
    script = (
        "return [...document.querySelectorAll('[data-testid=stMain] image, [data-testid=stMain] img')]"
        ".map(each => each.getAttribute('href') || each.getAttribute('xlink:href') || each.src)"
    )
    return list(reader.driver.execute_script(script))
