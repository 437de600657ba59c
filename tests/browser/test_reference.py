"""The shipped reference study, as a fresh clone opens it: it names itself, and every page has something to show."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.support.browser import MARKS, ROOT, Reader

pytestmark = [*MARKS, pytest.mark.long]

# What each page says of this study alone.
SAYS = {
    "": r"is best by|No (single )?model is (separably )?best",
    "timesteps": r"Step \d+ / 29",
    "models": r"Transformer vs UNet",
    "trust": r"DF-RISE",
    "faithfulness": r"(?i)insertion",
    "regions": r"(?i)step \d+",
    "prompts": r"1,000",
}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy: who reads it may save reviews and tags in it."""
    copy = tmp_path_factory.mktemp("shipped") / "reference"
    return Path(shutil.copytree(ROOT / "data" / "reference", copy))


def test_it_names_itself_as_shipped_with_its_date_and_machine(reader: Reader) -> None:
    reader.open("/")
    assert re.search(r"(?i)shipped", reader.text())
    assert re.search(r"20\d\d-\d\d-\d\d|\d+ \w+ 20\d\d", reader.text())


@pytest.mark.parametrize("view", SAYS, ids=lambda view: view or "overview")
def test_every_page_has_something_to_show(reader: Reader, view: str) -> None:
    size = {"width": 1280, "height": 720, "deviceScaleFactor": 1, "mobile": False}
    reader.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    reader.open(f"/{view}")
    said = reader.text()
    assert re.search(SAYS[view], said), said[:2000]
    assert not reader.driver.find_elements("css selector", "[class*=st-key-empty_]"), said[:2000]
    width = reader.driver.execute_script("return document.documentElement.scrollWidth")
    assert width <= 1280
    reader.shoot(f"reference-{view or 'overview'}")
