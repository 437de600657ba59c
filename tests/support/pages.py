"""The app in AppTest: which views there are, and what a page shows."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import pytest
from streamlit.components.v2.component_manager import BidiComponentManager
from streamlit.testing.v1 import AppTest

MAIN = Path(__file__).resolve().parents[2] / "app" / "main.py"
VIEWS = sorted(path.stem for path in (MAIN.parent / "views").glob("[!_]*.py"))
PHONE = 328  # px of a table on a phone of 390 px
PINNED = 130  # px that a pinned column may take of them
PATIENCE = 300  # seconds for a page beside other work
Open = Callable[..., AppTest]


def at(script: Path) -> AppTest:
    """A reader who is about to open a script."""
    app = AppTest.from_file(str(script), default_timeout=PATIENCE)
    # Each reader would look through every package that is installed: ten times the work of a page's frame.
    app._bidi_component_manager = _components()
    return app


def behind_link(view: str, parameters: Mapping[str, str | list[str]]) -> AppTest:
    """A view as its link shows it, with query parameters."""
    app = at(MAIN)
    for key, value in parameters.items():
        app.query_params[key] = value
    if view != "overview":
        app.switch_page(f"views/{view}.py")
    return app.run()


@cache
def _components() -> BidiComponentManager:
    """The components of installed packages, looked for once."""
    manager = BidiComponentManager()
    manager.discover_and_register_components(start_file_watching=False)
    return manager


@pytest.fixture
def open_view(monkeypatch: pytest.MonkeyPatch) -> Open:
    """Opens a view of the app on a place, with query parameters, as a link does."""

    def run(view: str, *studies: Path, **parameters: str | list[str]) -> AppTest:
        monkeypatch.setattr(sys, "argv", ["app/main.py", *map(str, studies)])
        app = behind_link(view, parameters)
        assert app.session_state["_view"] == view
        return app

    return run


def shown(app: AppTest) -> str:
    """All prose of a page."""
    kinds = (app.title, app.subheader, app.markdown, app.caption, app.text, app.code)
    return "\n".join(str(element.value) for kind in kinds for element in kind)


def too_wide(app: AppTest) -> list[str]:
    """Tables of which a phone would not show a column whole: the pinned column and any other, of 328 px together."""
    wide = []
    for table in app.dataframe:
        columns = json.loads(table.proto.columns or "{}").values()
        widths = [(column.get("pinned"), _pixels(column.get("width"))) for column in columns]
        pins = [width or math.inf for is_pinned, width in widths if is_pinned]
        widest = max((width for is_pinned, width in widths if not is_pinned), default=0)
        if len(pins) > 1 or sum(pins) > PINNED or widest > PHONE - sum(pins):
            wide.append(f"{table.proto.alt}: pinned {pins}, widest {widest}")
    return wide


def _pixels(width: int | str | None) -> int:
    """A column's width; 0 where its content decides."""
    return {"small": 75, "medium": 200, "large": 400, None: 0}.get(width, width)


def charts_of(app: AppTest) -> list[dict]:
    return [json.loads(element.proto.spec) for element in app.get("vega_lite_chart")]
