"""The dashboard: `streamlit run app/main.py -- [RESULTS_DIR | FILE.duckdb]...`.

Without a path, the newest study in data/results is shown. A new view is one file in app/views and
one line in VIEWS.
"""

from __future__ import annotations

import gc
import sys
from dataclasses import dataclass
from pathlib import Path

import controls
import queries
import streamlit as st
import timings
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
        needs: query parameter without which the step control has nothing to move.
    """

    name: str
    title: str
    icon: str
    section: str
    scrubber: bool = True
    needs: str = ""


VIEWS = (
    View("overview", "Overview", ":material/dashboard:", "Study", scrubber=False),
    View("changes", "Changes", ":material/difference:", "Study", scrubber=False),
    View("timesteps", "Timesteps", ":material/timeline:", "Explore"),
    View("prompts", "Prompts", ":material/notes:", "Explore", needs="prompt"),
    View("models", "Models", ":material/compare_arrows:", "Explore"),
    View("regions", "Regions", ":material/center_focus_strong:", "Explain"),
    View("words", "Words", ":material/format_quote:", "Explain"),
    View("schedules", "Schedules", ":material/schedule:", "Explain"),
    View("paths", "Paths", ":material/conversion_path:", "Explain"),
    View("faithfulness", "Faithfulness", ":material/rule:", "Explain"),
    View("trust", "Trust", ":material/verified:", "Explain", scrubber=False),
    View("review", "Review", ":material/gavel:", "Decide", scrubber=False),
    View("publish", "Figures", ":material/draw:", "Decide", scrubber=False),
    View("sql", "SQL", ":material/database:", "Data", scrubber=False),
    View("measures", "Measures", ":material/straighten:", "Data", scrubber=False),
)


def signed_in() -> bool:
    """Whether the reader may look: always, unless the secrets name an OIDC provider (docs/sharing.md)."""
    if not st.secrets.load_if_toml_exists() or "auth" not in st.secrets:
        return True
    if st.user.get("is_logged_in", False):
        st.sidebar.button("Log out", icon=":material/logout:", on_click=st.logout, key="logout")
        return True
    st.title("Stepscope", anchor=False)
    st.caption("This dashboard is shown to people who are logged in.")
    st.button("Log in", icon=":material/login:", on_click=st.login, key="login")
    return False


@st.cache_resource(show_spinner=False)
def settle() -> None:
    """Leave what is imported by now out of later garbage collections, once a server.

    One of its 180,000 objects took 0.1 s, in every twentieth rerun; of the rest it takes 0.02 s.
    """
    gc.collect()
    gc.freeze()


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
    if not signed_in():
        return
    sections: dict[str, list[st.Page]] = {}
    views: dict[str, View] = {}
    for each in VIEWS:
        page = st.Page(
            f"views/{each.name}.py",
            title=each.title,
            icon=each.icon,
            url_path=each.name,
            default=each is VIEWS[0],
        )
        sections.setdefault(each.section, []).append(page)
        views[each.title] = each
    chosen = st.navigation(sections, expanded=True)
    view = views[chosen.title]
    queries.arrive(view.name)
    scrubber = view.scrubber and (not view.needs or view.needs in st.query_params)
    with timings.noted(view.name):
        try:
            controls.set_up(sys.argv[1:], scrubber=scrubber)
        except SnapshotError as error:
            controls.trouble(error)
            return
        chosen.run()
    settle()


main()
