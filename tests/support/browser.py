"""A person at headless Chromium, on the app as a user would serve it."""

from __future__ import annotations

import os
import shutil
import socket
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

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
PATIENCE = 300.0
ANSWER = 30.0  # seconds until a click that nothing came of is made again
DRAWN = """
    const parts = selector => [...document.querySelectorAll(selector)].filter(part => part.offsetParent)
    const missing = document.querySelectorAll('[data-testid=stMain] [data-testid=stSkeleton]').length
    return !missing
        && parts('[data-testid=stMain] [data-testid=stVegaLiteChart]').every(chart => chart.querySelector('svg, canvas'))
        && parts('.st-key-step').every(bar => bar.querySelector('.steps-bar'))
        && parts('[data-testid=stBidiComponentRegular]').every(component => component.firstElementChild)
"""
WORDS = """
    const style = document.head.appendChild(document.createElement('style'))
    style.textContent = '.role-axis-label {visibility: hidden}'
    const words = document.querySelector('[data-testid=stMain]').innerText
    style.remove()
    return words
"""
CHARTS = "return [...document.querySelectorAll('[data-testid=stVegaLiteChart] svg')].map(chart => chart.textContent).join()"
FILTERS = ("models", "families", "categories", "seeds", "scorer", "metric")
"""Controls in the panel *Filters* of the bar at the top."""
MARKS = [
    pytest.mark.browser,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        not (CHROMIUM and CHROMEDRIVER),
        reason="needs chromium and chromedriver on PATH (Debian: apt-get install chromium "
        "chromium-driver)",
    ),
]


def free_port() -> int:
    """A port that nobody has at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def healthy(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/_stcore/health", timeout=PATIENCE) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def wait(ready: Callable[[], object], why: Callable[[], str] = lambda: "") -> None:
    """Wait until something is true; a moment that fails is no answer yet."""
    if not _comes(ready, PATIENCE):
        pytest.fail(f"waited {PATIENCE:.0f} s in vain. {why()}")


def _comes(ready: Callable[[], object], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if ready():
                return True
        except Exception:
            pass
        time.sleep(0.2)
    return False


class Reader:
    """A person at the browser."""

    def __init__(self, driver: webdriver.Chrome, address: str, shots: Path | None = None) -> None:
        self.driver, self.address, self.shots = driver, address, shots

    def open(self, path: str) -> None:
        self.driver.get(self.address + path)
        self.settle()

    def settle(self) -> None:
        """Wait until the script is done and stays done, and every chart and component is drawn and stays as it is."""
        state = "return document.querySelector('[data-testid=stApp]').dataset.testScriptState"
        wait(lambda: self.driver.execute_script(state) == "notRunning")
        wait(
            lambda: self.driver.execute_script(DRAWN) and self._rests() and self.driver.execute_script(state) == "notRunning",
            lambda: "a chart or component is not drawn, or changes all the time",
        )  # fmt: skip
        assert not self.driver.find_elements(By.CSS_SELECTOR, "[data-testid=stException]")

    def _rests(self) -> bool:
        """Whether the charts show the same after a while: a slow browser draws a chart in several passes."""
        before = self.driver.execute_script(CHARTS)
        time.sleep(0.6)
        return bool(self.driver.execute_script(CHARTS) == before)

    def click(
        self,
        selector: str,
        answered: Callable[[], object],
        number: int = 0,
        at: tuple[int, int] | None = None,
    ) -> None:
        """Click an element, and again where nothing comes of it.

        What the page draws anew at this moment loses the click, as a person's would be.

        Args:
            selector: of the element.
            answered: whether the page has answered.
            number: which of those that the selector finds.
            at: from the element's middle, in pixels; None = its middle.
        """

        def clicked() -> bool:
            self.settle()
            element = self._shown(self.driver.find_elements(By.CSS_SELECTOR, selector)[number])
            actions = ActionChains(self.driver)
            actions.move_to_element_with_offset(element, *(at or (0, 0))).click().perform()
            return _comes(answered, ANSWER)

        wait(clicked, lambda: f"{selector}, at {self.url()}")

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

        def clicked() -> bool:
            self._shown(self.driver.find_element(By.XPATH, link)).click()
            return _comes(lambda: self.title() == title, ANSWER)

        wait(clicked, self.title)
        self.settle()

    def title(self) -> str:
        return self.find("h1").text

    def text(self) -> str:
        return self.find("[data-testid=stMain]").text

    def words(self) -> str:
        """The page's text without the numbers on axes, of which Vega leaves out those that overlap while it draws."""
        return str(self.driver.execute_script(WORDS))

    def url(self) -> str:
        return str(self.driver.current_url)

    def choose(self, key: str, option: str) -> None:
        """Add an option to a filter."""
        if key in FILTERS:
            self.unfold("filters")
        field = self.find(f".st-key-{key} input")
        field.click()
        field.send_keys(option)
        # The list is narrowed to what was typed; Enter takes its first.
        offered = "return document.querySelector('[role=option]').innerText"
        wait(lambda: option in self.driver.execute_script(offered), lambda: f"{option} not offered")
        field.send_keys(Keys.ENTER)
        field.send_keys(Keys.ESCAPE)
        wait(lambda: f"{key}=" in self.url(), self.url)
        if key in FILTERS:
            self.fold()
        self.settle()

    def unfold(self, key: str) -> None:
        """Open one of the panels in the bar at the top."""
        self.click(
            f".st-key-{key} [data-testid=stPopover] button, button.st-key-{key}, .st-key-{key} button",
            lambda: self.driver.find_elements(By.CSS_SELECTOR, "[data-testid=stPopoverBody]"),
        )

    def fold(self) -> None:
        """Close the panel that is open."""
        ActionChains(self.driver).send_keys(Keys.ESCAPE).perform()
        wait(
            lambda: not self.driver.find_elements(By.CSS_SELECTOR, "[data-testid=stPopoverBody]"),
            lambda: "the panel stays open",
        )

    def shoot(self, name: str) -> None:
        """Take a screenshot where there is a folder for them: each takes as long as a small page."""
        if self.shots is None:
            return
        self.shots.mkdir(parents=True, exist_ok=True)
        self.driver.save_screenshot(str(self.shots / f"{name}.png"))


def downloaded(reader: Reader, button: str, folder: Path, pattern: str) -> Path:
    """The file that a button gives.

    A button that the page draws anew at this moment loses the click, so a person clicks again.
    """
    allowed = {"behavior": "allow", "downloadPath": str(folder)}
    reader.driver.execute_cdp_cmd("Browser.setDownloadBehavior", allowed)

    def has_come() -> bool:
        reader.settle()
        reader.find(button).click()
        for _ in range(50):
            if list(folder.glob(pattern)):
                return True
            time.sleep(0.2)
        return False

    wait(has_come, lambda: f"{pattern} of {button}; in the folder: {os.listdir(folder)}")
    return next(folder.glob(pattern))


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
    driver.set_script_timeout(PATIENCE)  # a script that imports a module waits for a busy server
    prefers(driver, "dark" if dark else "light")
    return driver


def prefers(driver: webdriver.Chrome, scheme: str) -> None:
    """Sets the colour scheme of the system that a browser tells its pages."""
    feature = {"name": "prefers-color-scheme", "value": scheme}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})


def pictures(reader: Reader) -> list[str]:
    """The sources of all pictures on the page, in charts and outside; of those that follow the step, what is drawn."""
    script = (
        "return [...document.querySelectorAll('[data-testid=stMain] image, [data-testid=stMain] img, .steps-image')]"
        ".map(each => each.getAttribute('href') || each.getAttribute('xlink:href') || each.src || each.toDataURL())"
    )
    return list(reader.driver.execute_script(script))
