"""What axe-core finds on an open page: WCAG 2.2, levels A and AA. The script is npm's axe-core 4.14.0 (MPL-2.0), for tests alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

AXE = Path(__file__).resolve().parent / "axe" / "axe.min.js"
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
# Streamlit's own navigation has its sections between the list and its items.
STREAMLITS_OWN = {"list", "listitem"}
RUN = """
const [type, values, done] = arguments;
// What still fades in has other colours for a moment.
const moving = () => document.getAnimations().filter((each) => each.effect.getComputedTiming().endTime < 5000);
Promise.allSettled(moving().map((each) => each.finished)).then(() => axe.run(document, { runOnly: { type, values }, resultTypes: ["violations"] }))
  .then((found) => done(found.violations), (error) => done(String(error)));
"""


def version() -> str:
    """Of the script: '4.14.0'."""
    return AXE.read_text(encoding="utf-8")[:40].split(" v")[1].split()[0]


def violations(driver: Any, only: str = "") -> list[tuple[str, str, list[str]]]:
    """Rule, element and reasons of each violation on the open page, but for Streamlit's own navigation.

    Args:
        driver: of the browser.
        only: a rule of axe's; without it all of the levels.
    """
    driver.execute_script(AXE.read_text(encoding="utf-8"))
    asked = ("rule", [only]) if only else ("tag", TAGS)
    rules = driver.execute_async_script(RUN, *asked)
    assert not isinstance(rules, str), rules
    return [
        (rule["id"], node["html"][:200], [check["message"] for check in node["any"]])
        for rule in rules
        for node in rule["nodes"]
        if not _is_streamlits(driver, rule["id"], node["target"][0])
        and not (rule["id"] == "target-size" and _is_under_the_bar(driver, node["target"][0]))
    ]


COVERED = """
const [element, bar] = [arguments[0], '[data-testid=stBottomBlockContainer]'].map((each) => document.querySelector(each)?.getBoundingClientRect());
return !!element && !!bar && element.bottom > bar.top - 12;
"""


def _is_under_the_bar(driver: Any, target: str) -> bool:
    """Whether the step bar, which stays at the bottom of the window, happens to cover an element until the page is scrolled."""
    return bool(driver.execute_script(COVERED, target))


def _is_streamlits(driver: Any, rule: str, target: str) -> bool:
    """Whether an element of a rule that Streamlit breaks is in its navigation."""
    inside = "return !!document.querySelector(arguments[0])?.closest('[data-testid=stSidebarNav]')"
    return rule in STREAMLITS_OWN and bool(driver.execute_script(inside, target))
