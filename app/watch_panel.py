"""The panel that follows a run, and the offer of a newer snapshot. Both look again by themselves, without a reload."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import queries
import streamlit as st
import watch
from queries import Snapshot, SnapshotError
from watch import Progress

EVERY = "3s"
STATES = {
    "running": (":material/play_circle:", "A run is going on", "blue"),
    "silent": (":material/help:", "A run has said nothing for a while", "orange"),
    "done": (":material/check_circle:", "The last run is done", "green"),
    "interrupted": (":material/pause_circle:", "The last run was interrupted", "orange"),
    "stopped": (":material/error:", "The last run was stopped by an error", "red"),
}
ADVICE = {
    "silent": "If its machine or process is gone, run the study again: it goes on where it stopped.",
    "interrupted": "Run the study again: it goes on where it stopped.",
    "stopped": "Mend what it says and run the study again: it goes on where it stopped.",
}


@st.fragment(run_every=EVERY)
def follow(place: Path, *, finished: bool = True) -> None:
    """Progress, rate, time left, workers and failures of the latest run, drawn anew by itself.

    Args:
        place: the results folder.
        finished: whether a run that is done is shown too.
    """
    found = watch.progress(place)
    if found is None or (found.state == "done" and not finished):
        return
    icon, title, hue = STATES[found.state]
    with st.container(border=True, key="card_run"):
        st.markdown(f"{icon} **{title}**", help="Read from the run's log; nothing is locked by it.")
        st.progress(found.share, text=_line(found))
        if found.state in ADVICE:
            st.caption(f":{hue}[{ADVICE[found.state]}]")
        if found.error:
            st.text(found.error)
        if found.state == "running" and len(found.workers) > 1:
            _workers(found)
        if found.troubles:
            _troubles(found)


def _line(found: Progress) -> str:
    parts = [f"{found.through:,} of {found.samples:,} samples"]
    if found.rate:
        slow = found.rate < 1
        parts.append(f"{found.rate * 60:.1f} a minute" if slow else f"{found.rate:.1f} a second")
    if found.left is not None:
        parts.append(f"{watch.duration(found.left)} left")
    parts.append(f"{found.updated:%d %b %H:%M:%S} UTC")
    return ", ".join(parts)


def _workers(found: Progress) -> None:
    st.dataframe(
        pd.DataFrame(
            {
                "worker": each.worker,
                "model": each.model,
                "units": each.units,
                "seconds a unit": round(each.seconds, 1),
                "failed samples": each.failed,
                "last unit": each.last,
            }
            for each in found.workers
        ),
        hide_index=True,
        key="run_workers",
    )


def _troubles(found: Progress) -> None:
    st.caption("Not everything came out; what failed is tried again by the next run.")
    st.dataframe(
        pd.DataFrame(
            {
                "when": each.when,
                "model": each.model,
                "seed": each.seed,
                "failed": each.failed,
                "of": each.samples,
                "try": each.tries,
                "reason": each.error,
            }
            for each in found.troubles[:50]
        ),
        hide_index=True,
        key="run_troubles",
    )


def held(place: Path, newest: Snapshot) -> Snapshot:
    """The snapshot that this reader looks at: the one seen first, until they take a newer one or it is gone."""
    seen: dict[str, Snapshot] = st.session_state.setdefault("_held", {})
    own = seen.get(str(place))
    if own is None or own.path == newest.path or not Path(own.path).is_file():
        if own is not None and own != newest:
            st.toast("This study was published anew: this is it.", icon=":material/update:")
        seen[str(place)] = newest
    return seen[str(place)]


@st.fragment(run_every=EVERY)
def offer(place: Path, key: str = "take_snapshot") -> None:
    """A button, where a newer snapshot than the one shown was published."""
    try:
        newest = queries.locate(place)
    except SnapshotError:
        return
    seen: dict[str, Snapshot] = st.session_state.get("_held", {})
    if seen.get(str(place), newest) == newest:
        return
    if st.button(
        "Show the new snapshot",
        icon=":material/update:",
        width="stretch",
        key=key,
        help=f"{Path(newest.path).name} was published since; what you see stays as it is until you take it.",
    ):
        seen[str(place)] = newest
        st.rerun()
