"""The dashboard: `streamlit run app/main.py -- [--no-sql] [RESULTS_DIR | FILE.duckdb]...`.

Without a path, the newest study in data/results is shown, or the shipped one; `--no-sql` turns the SQL page off. A new
view is one file in app/views and one line in VIEWS. Streamlit runs this file twice over: imported, it
makes the server, with its guard against foreign hosts; as a script, it draws a page.
"""

from __future__ import annotations

import gc
import importlib
import inspect
import logging
import pkgutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import streamlit as st

HERE = Path(__file__).resolve().parent
# Streamlit puts the script's folder there, not the project's; the wheel has this in its package, `stepscope.app`.
if not (HERE.parent / "__main__.py").exists() and str(HERE.parent) not in sys.path:
    sys.path.insert(0, str(HERE.parent))

# Streamlit says of each cached function that it is defined before the server is there.
logging.getLogger("streamlit.runtime.caching.cache_data_api").setLevel(logging.ERROR)

from app import hosts, preloads, warming  # noqa: E402
from app.database import console  # noqa: E402
from app.ui import cards, links, queries, step_bar, step_component, timings, turns, watch_panel  # noqa: E402
from app.ui.page import set_up  # noqa: E402
from app.ui.queries import SnapshotError  # noqa: E402

PACKAGE = hosts.__name__.rpartition(".")[0]  # `app`; in the wheel it is `stepscope.app`


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
    View("training", "Training", ":material/model_training:", "Explore"),
    View("regions", "Regions", ":material/center_focus_strong:", "Explain"),
    View("words", "Words", ":material/format_quote:", "Explain"),
    View("schedules", "Schedules", ":material/schedule:", "Explain"),
    View("causes", "Causes", ":material/fork_right:", "Explain", scrubber=False),
    View("paths", "Paths", ":material/conversion_path:", "Explain"),
    View("faithfulness", "Faithfulness", ":material/rule:", "Explain"),
    View("trust", "Trust", ":material/verified:", "Explain", scrubber=False),
    View("review", "Review", ":material/gavel:", "Decide", scrubber=False),
    View("figures", "Figures", ":material/draw:", "Decide", scrubber=False),
    View("sql", "SQL", ":material/database:", "Data", scrubber=False),
    View("measures", "Measures", ":material/straighten:", "Data", scrubber=False),
)

FORMER = {"publish": "figures"}
"""Addresses that views had before -> view: old links lead to it with their parameters."""


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


def warm_up() -> None:
    """Import what the views use before the server listens, so that its first reader does not wait for it."""
    for package in ("analysis", "charts", "database", "figures", "ui"):
        for module in pkgutil.iter_modules([str(HERE / package)]):
            importlib.import_module(f"{PACKAGE}.{package}.{module.name}")
    inspect.stack()  # Streamlit asks it at the first element; what it looks up of each module took 0.3 s of the first page
    # Texts of a few hundred rows as Python's: made, read one by one and sorted, they took a tenth of a page's time as Arrow's.
    pd.set_option("mode.string_storage", "python")
    preloads.scripts()
    warming.send_at_once()
    # Out of later garbage collections: one of its 180,000 objects took 0.1 s, in every twentieth rerun; of the rest 0.02 s.
    gc.collect()
    gc.freeze()


def page_of(view: View) -> st.Page:
    """A view as Streamlit knows it; one that is turned off is in no menu."""
    return st.Page(
        f"views/{view.name}.py",
        title=view.title,
        icon=view.icon,
        url_path=view.name,
        default=view is VIEWS[0],
        visibility="hidden" if view.name == "sql" and console.turned_off() else "visible",
    )


def navigation(pages: Mapping[str, st.Page]) -> dict[str, list[st.Page]]:
    """The pages by section, and the addresses that views had before, which are in no menu."""
    sections: dict[str, list[st.Page]] = {}
    for view in VIEWS:
        sections.setdefault(view.section, []).append(pages[view.name])
    sections[VIEWS[0].section] += [
        st.Page(no_page, title=name, url_path=name, visibility="hidden") for name in FORMER
    ]
    return sections


def no_page() -> None:
    """Draws nothing: `main` leads a reader of a former address to the view before it is drawn."""


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
    links.clean()
    links.translate()
    links.carry()
    pages = {each.name: page_of(each) for each in VIEWS}
    chosen = st.navigation(navigation(pages), expanded=True)
    if chosen.url_path in FORMER:
        parameters = {key: st.query_params.get_all(key) for key in st.query_params}
        st.switch_page(pages[FORMER[chosen.url_path]], query_params=parameters)
    view = next(each for each in VIEWS if each.title == chosen.title)
    queries.arrive(view.name)
    scrubber = view.scrubber and (not view.needs or view.needs in st.query_params)
    with timings.noted(view.name), turns.TURNS.turn():
        paths = [argument for argument in sys.argv[1:] if argument != console.NO_SQL]
        try:
            set_up(paths, scrubber=scrubber)
        except SnapshotError as error:
            cards.trouble(error)
            watch_panel.open_when_published(paths, st.session_state.get("_place"))
            return
        with st.sidebar:
            step_component.style()
        try:
            chosen.run()
        except SnapshotError as error:
            cards.trouble(error)
        step_bar.finished()


if __name__ == "__main__":
    main()
else:
    warm_up()
    server = st.App(
        Path(__file__).resolve(),
        middleware=[hosts.GUARD, preloads.PRELOADS],
        lifespan=warming.first_page,
    )
