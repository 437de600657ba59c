"""The dashboard: `streamlit run app/main.py -- [RESULTS_DIR | FILE.duckdb]...`.

Without a path, the newest study in data/results is shown. A new view is one file in app/views and
one line in VIEWS.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import controls
import streamlit as st
from queries import SnapshotError

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class View:
    """A page of the dashboard.

    Attributes:
        name: of its file in app/views and of its URL.
        title: in the navigation.
        icon: a Material icon.
        section: of the navigation.
        scrubber: whether it follows the step control.
    """

    name: str
    title: str
    icon: str
    section: str
    scrubber: bool = True


VIEWS = (
    View("overview", "Overview", ":material/dashboard:", "Study", scrubber=False),
    View("timesteps", "Timesteps", ":material/timeline:", "Explore"),
    View("prompts", "Prompts", ":material/notes:", "Explore"),
    View("models", "Models", ":material/compare_arrows:", "Explore"),
)


def main() -> None:
    """Draw the navigation, the filters, and the chosen view."""
    st.set_page_config(
        page_title="Stepscope", page_icon=str(HERE / "static" / "icon.svg"), layout="wide"
    )
    shade = "dark" if st.context.theme.type == "dark" else "light"
    st.logo(
        str(HERE / "static" / f"logo-{shade}.svg"),
        size="large",
        icon_image=str(HERE / "static" / "icon.svg"),
    )
    sections: dict[str, list[st.Page]] = {}
    views: dict[str, View] = {}
    for view in VIEWS:
        page = st.Page(
            f"views/{view.name}.py",
            title=view.title,
            icon=view.icon,
            url_path=view.name,
            default=view is VIEWS[0],
        )
        sections.setdefault(view.section, []).append(page)
        views[view.title] = view
    chosen = st.navigation(sections, expanded=True)
    try:
        controls.set_up(sys.argv[1:], scrubber=views[chosen.title].scrubber)
    except SnapshotError as error:
        controls.trouble(error)
        return
    chosen.run()


main()
