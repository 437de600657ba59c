"""The overview's answer: the first sentence on the first screen, and where its lines lead."""

from __future__ import annotations

import re

from tests.support.browser import MARKS, Reader

pytestmark = MARKS

FIRST_SENTENCE = """
const texts = [...document.querySelectorAll('[data-testid=stMain] :is(h2, h3, p)')]
  .filter(each => each.offsetParent && /\\w{2,}.*[.!?]/.test(each.innerText));
const box = texts[0].getBoundingClientRect();
return [texts[0].innerText, box.top, box.bottom];
"""


def test_the_first_sentence_of_the_first_screen_is_the_answer(reader: Reader) -> None:
    size = {"width": 1280, "height": 720, "deviceScaleFactor": 1, "mobile": False}
    reader.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    reader.open("/")
    sentence, top, bottom = reader.driver.execute_script(FIRST_SENTENCE)
    assert re.search(r"is best by|No (single )?model is (separably )?best", sentence), sentence
    assert 0 <= top < bottom <= 720
    reader.shoot("overview-answer")
    reader.click(".st-key-finding_0 button", lambda: reader.title() == "Models")
    reader.settle()


def test_the_findings_begin_at_the_left(reader: Reader) -> None:
    """Also those of two lines, which Streamlit's button would centre."""
    reader.open("/")
    script = """
        return [...document.querySelectorAll('[class*=st-key-finding_] button p')].filter(text => text.offsetParent).map(text =>
          [text.getBoundingClientRect().left, text.getBoundingClientRect().height, getComputedStyle(text).textAlign]);
    """
    texts = reader.driver.execute_script(script)[1:]  # the first is the answer's
    assert len(texts) >= 3 and max(height for _, height, _ in texts) > 30, "one has two lines"
    assert max(left for left, *_ in texts) - min(left for left, *_ in texts) < 2
    assert {align for *_, align in texts} == {"left"}
