"""Texts of a study are text on every page: titles, labels, captions, tooltips, options, tables, charts."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from tests.support.canary import LIVE, WORD, links, spoil, texts
from tests.support.pages import VIEWS, Open

# Fields that Streamlit shows as they are, or not at all; every other text of a page is read as Markdown.
PLAIN = {
    "text.body", "code.code_text", "arrow_data_frame.element_id", "dataframe.columns", "vega_lite_chart.spec",
    "selectbox.options", "multiselect.options", "selectbox.raw_value", "selectbox.raw_values", "multiselect.raw_values", "selectbox.string_value",
    "text_input.default", "text_input.value", "text_area.default", "text_area.value", "download_button.url",
    "imgs.imgs.url", "imgs.imgs.alt_text", "imgs.imgs.alt", "image.imgs.alt", "vega_lite_chart.alt", "arrow_data_frame.alt", "deferred_file_id", "page_link.query_string",
}  # fmt: skip


@pytest.fixture(scope="module")
def canary(altered: Callable[..., Path]) -> Path:
    """The study with the canary in each of its texts."""
    folder = altered()
    pointer = json.loads((folder / "current.json").read_text())
    assert spoil(folder / pointer["snapshot"]) > 20
    return folder


def alive(app: AppTest) -> list[str]:
    """Where the canary became markup, with its beginning."""
    problems = []
    for kind in app._tree.children.values():
        for node in kind:
            proto = getattr(node, "proto", None)
            if proto is None:
                continue
            for where, text in texts(proto):
                name = f"{getattr(node, 'type', '?')}.{where}"
                if WORD in text and name not in PLAIN and where != "id":
                    problems += [
                        f"{name}: {part} in {text[:160]!r}" for part in LIVE if bare(part, text)
                    ]
    return problems


def bare(part: str, text: str) -> bool:
    """Whether a part stands in a text without backslashes before what Markdown reads."""
    return re.search(rf"(?<!\\){re.escape(part)}", text) is not None


@pytest.mark.parametrize("view", VIEWS)
def test_no_text_of_a_study_becomes_markup(view: str, open_view: Open, canary: Path) -> None:
    app = open_view(view, canary)
    assert not app.exception, [each.value for each in app.exception]
    assert alive(app) == []
    for chart in app.get("vega_lite_chart"):
        assert links(chart.proto.spec) == []
    for table in app.dataframe:
        kinds = {
            c.get("type_config", {}).get("type")
            for c in json.loads(table.proto.columns or "{}").values()
            if isinstance(c, dict)
        }
        assert not kinds & {"link", "markdown", "html"}
    assert not app.get("html") and not app.get("iframe")
