"""The four jobs that people come to the dashboard with, as scripts that count clicks and keys.

A click is one press of the mouse button; a key is one press that does something, such as Enter: what is typed into a
field is text and not counted. A script begins on the overview, once it is drawn, and ends when its answer is on the
screen or its file on the disk.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import duckdb
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By

from tests.support.browser import Reader, wait

SCREEN = {"width": 1280, "height": 720, "deviceScaleFactor": 1, "mobile": False}
FIRST_SENTENCE = """
const texts = [...document.querySelectorAll('[data-testid=stMain] :is(h2, h3, p)')]
  .filter(each => each.offsetParent && /\\w{2,}.*[.!?]/.test(each.innerText));
const box = texts[0].getBoundingClientRect();
return [texts[0].innerText, box.top, box.bottom];
"""
COPIED = "return document.querySelector('.steps-copy').dataset.copied || ''"
CELLS = """
const rows = [...document.querySelectorAll(`${arguments[0]} [data-testid=stDataFrame] canvas tbody tr`)];
return rows.map(row => [...row.querySelectorAll('td')].map(cell => cell.innerText));
"""


@dataclass(frozen=True)
class Limit:
    """How many clicks and keys together a job may take."""

    job: str
    most: int


LIMITS = {
    "newcomer": Limit("newcomer: which model is best, or that they tie", 0),
    "reviewer": Limit("reviewer: from the overview to a decision whose link is copied", 12),
    "DF-RISE": Limit("author: a strip of DF-RISE as PDF", 10),
    "DF-CAM": Limit("author: a strip of DF-CAM as PDF", 10),
    "lead": Limit("lead: the prompts that got worse", 3),
}


class Counter:
    """A reader whose clicks and keys are counted, from the overview on."""

    def __init__(self, reader: Reader) -> None:
        self.reader, self.clicks, self.keys = reader, 0, 0
        reader.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", SCREEN)
        reader.open("/")
        self.began = time.monotonic()
        self.seconds = 0.0

    @property
    def acts(self) -> int:
        """Clicks and keys."""
        return self.clicks + self.keys

    def click(self, how: str, what: str, answered: Callable[[], object] = lambda: True) -> None:
        """One click on an element, and the wait until the page has answered.

        Args:
            how: By.CSS_SELECTOR or By.XPATH.
            what: the first element that it finds is clicked.
            answered: whether the page has answered.
        """
        self.reader.settle()
        wait(lambda: self.reader.driver.find_elements(how, what), lambda: what)
        element = self.reader.driver.find_elements(how, what)[0]
        self.reader.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        ActionChains(self.reader.driver).move_to_element(element).click().perform()
        self.clicks += 1
        wait(answered, lambda: f"no answer to a click on {what}")

    def write(self, field: str, text: str) -> None:
        """A click into a field, and a text."""
        self.click(By.CSS_SELECTOR, field)
        ActionChains(self.reader.driver).send_keys(text).perform()

    def press(self, key: str) -> None:
        """One key."""
        ActionChains(self.reader.driver).send_keys(key).perform()
        self.keys += 1

    def go(self, title: str) -> None:
        """One click in the navigation."""
        link = f"//a[@data-testid='stSidebarNavLink'][contains(., '{title}')]"
        self.click(By.XPATH, link, lambda: self.reader.title() == title)

    def done(self) -> None:
        """The job's answer is there."""
        self.reader.settle()
        self.seconds = time.monotonic() - self.began


def newcomer(reader: Reader) -> tuple[Counter, str]:
    """The first sentence on the first screen."""
    counter = Counter(reader)
    sentence, top, bottom = reader.driver.execute_script(FIRST_SENTENCE)
    assert 0 <= top < bottom <= SCREEN["height"], "on the first screen"
    counter.done()
    return counter, str(sentence)


def reviewer(reader: Reader) -> tuple[Counter, str]:
    """Judges the model that a finding says is worse, rejects it, and copies the link to send."""
    counter = Counter(reader)
    counter.click(
        By.XPATH, "//button[contains(., 'is worse than')]", lambda: reader.title() == "Models"
    )
    counter.go("Review")
    counter.write("input[aria-label='Question']", "May it replace the baseline?")
    counter.write(".st-key-reviewer input", "Ada")
    counter.click(
        By.XPATH, "//button[contains(., 'Save the review')]", lambda: "review=" in reader.url()
    )
    counter.write(".st-key-card_notes textarea", "Worse on every prompt.")
    counter.click(
        By.XPATH, "//*[contains(@class, 'st-key-note_kind')]//button[contains(., 'Rejected')]"
    )
    counter.click(
        By.XPATH, "//*[contains(@class, 'st-key-card_notes')]//button[contains(., 'Add')]",
        lambda: "Worse on every prompt." in reader.text(),
    )  # fmt: skip
    counter.click(By.CSS_SELECTOR, ".steps-copy", lambda: reader.driver.execute_script(COPIED))
    counter.done()
    return counter, str(reader.driver.execute_script(COPIED))


def author(reader: Reader, tool: str, folder: Path) -> tuple[Counter, Path]:
    """The strip of a tool over the steps, downloaded as PDF."""
    counter = Counter(reader)
    allowed = {"behavior": "allow", "downloadPath": str(folder)}
    reader.driver.execute_cdp_cmd("Browser.setDownloadBehavior", allowed)
    counter.go("Figures")
    kind = f".st-key-open_{KINDS[tool].replace('-', '_')} button"
    counter.click(By.CSS_SELECTOR, kind, lambda: "figure=" in reader.url())
    reader.settle()
    counter.click(By.CSS_SELECTOR, ".st-key-file_pdf button", lambda: list(folder.glob("*.pdf")))
    counter.done()
    return counter, next(folder.glob("*.pdf"))


KINDS = {"DF-RISE": "paper-7", "DF-CAM": "paper-8"}
"""The figure of a tool's maps over the steps."""


def lead(reader: Reader) -> tuple[Counter, list[list[str]]]:
    """The prompts on which the worse model is worst, as rows of their table."""
    counter = Counter(reader)
    counter.click(
        By.XPATH, "//button[contains(., 'is worse than')]", lambda: reader.title() == "Models"
    )
    side = "//*[contains(@class, 'st-key-side')]//button[contains(., 'Baseline better')]"
    counter.click(By.XPATH, side, lambda: "side=Baseline" in reader.url())
    reader.settle()
    wait(lambda: reader.driver.execute_script(CELLS, ".st-key-card_most"))
    counter.done()
    return counter, list(reader.driver.execute_script(CELLS, ".st-key-card_most"))


SCORES = """
SELECT m.label, p.text, avg(s.clip_score) AS score
FROM sample s JOIN model m USING (model_id) JOIN prompt p USING (prompt_id)
WHERE s.status = 'done' GROUP BY ALL
"""


def scores(snapshot: Path) -> dict[str, dict[str, float]]:
    """Mean score over the seeds by model and prompt, straight from the database: label -> text -> score."""
    out: dict[str, dict[str, float]] = {}
    with duckdb.connect(str(snapshot), read_only=True) as connection:
        for label, text, score in connection.execute(SCORES).fetchall():
            out.setdefault(label, {})[text] = score
    return out
