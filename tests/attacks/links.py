"""Links that mean harm, and what a page may look like behind one."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

from streamlit.testing.v1 import AppTest

from app.analysis import slices
from tests.support.hostile import texts
from tests.support.pages import VIEWS

ODD = [
    "inf", "-inf", "+Infinity", "nan", "-nan", "1e999", "-1e999", "1e308", "9" * 400, "-" + "9" * 400, "9" * 5_000, "0." + "9" * 5_000, "1e" + "9" * 400,
    "0x10", "1_000", "\u0663", "\uff15", "5 ", " 5", "5\n", "\t5", "+5", "--5", "5-", "5.", ".5", "5.0", "5.5", "1e3", "1e-3", "1e+3", "1E3", "-0", "00005",
    "", " ", ".", "e", "-", "+", "None", "null", "true", "[1]", "{}", "5,5", "5;5", "5 5", "5\x00", "\x005", "NaN", "1/2", "0b1", "0o7", "1j", "infinity",
]  # fmt: skip
FRAME = [*dict.fromkeys((
    *slices.KEYS, "models", "families", "concepts", "categories", "seeds", "scorer", "study", "step", "prompt", "review", "page", "margin_clip_score",
    "baseline", "candidate", "snapshot", "since",
    "embed", "_page", "__class__",
))]  # fmt: skip
"""The parameters that the frame of every page reads, and some that nothing reads."""
IN_FRAME = [(key, value) for key in FRAME for value in dict.fromkeys([*ODD, *texts(78)])]
TURNS = 10


def _of_page(view: str) -> Iterator[dict[str, str]]:
    """Links to a view in which every parameter of its own, and some of the frame's, say something odd."""
    values = [*ODD, *texts(40)]
    bound_keys = import_module("tests.app.views.test_hostile_urls").bound_keys
    keys = sorted(bound_keys(view) - {"prompt", "review"})
    start = VIEWS.index(view) * 7
    for turn in range(TURNS):
        yield {key: values[(start + turn * 11 + n) % len(values)] for n, key in enumerate(keys)}


TO_PAGES = [(view, link) for view in VIEWS for link in _of_page(view)]


def astray(app: AppTest) -> list[str]:
    """What is wrong with a page behind a link: errors, and controls that hold what they do not allow."""
    problems = [f"{each.message} {each.value}"[:300] for each in app.exception]
    held = app.session_state
    if "step" in held and (type(held["step"]) is not int or not 0 <= held["step"] < 100):
        problems.append(f"step = {held['step']!r}"[:300])
    for number in (*app.number_input, *app.slider):
        held = number.value if isinstance(number.value, tuple | list) else [number.value]
        problems += [
            f"{number.key} = {v}" for v in held if v is not None and not _between(number, v)
        ]
    for choice in (*app.selectbox, *app.radio):
        if choice.value is not None and not _known(choice, "index"):
            problems.append(f"{choice.key} = {choice.value!r}")
    for several in (*app.multiselect, *app.button_group):
        if not _known(several, "indices"):
            problems.append(f"{several.key} = {several.value!r}")
    for field in (*app.text_input, *app.text_area):
        if field.max_chars and len(field.value or "") > field.max_chars:
            problems.append(f"{field.key} has {len(field.value or '')} characters")
    return problems


def _between(number: Any, value: Any) -> bool:
    low, high = number.min, number.max
    return (low is None or low <= value) and (high is None or value <= high)


def _known(choice: object, where: str) -> bool:
    """Whether what is chosen is one of the options."""
    try:
        getattr(choice, where)
    except ValueError:
        return False
    return True
