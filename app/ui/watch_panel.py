"""The panel that follows a run, and the offer of a newer snapshot. Both look again by themselves, without a reload."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import streamlit as st

from app.database import finished, runs
from app.database.finished import Finished
from app.database.runs import Progress
from app.ui import pins, queries, tables
from app.ui.pictures import enlarge
from app.ui.queries import Snapshot, SnapshotError
from app.ui.texts import plain

EVERY = "3s"
MOST_IMAGES = 8
SIDE = 112  # px of an image
STATES = {
    "running": (":material/play_circle:", "Run in progress", "blue"),
    "silent": (":material/help:", "No recent update from the run", "orange"),
    "done": (":material/check_circle:", "The last run is done", "green"),
    "interrupted": (":material/pause_circle:", "The last run was interrupted", "orange"),
    "stopped": (":material/error:", "The last run was stopped by an error", "red"),
}
ADVICE = {
    "silent": "If its machine or process is gone, run the study again: it resumes.",
    "interrupted": "Run the study again: it resumes.",
    "stopped": "Fix the error below, then run the study again: it resumes.",
}


@st.fragment(run_every=EVERY)
def follow(path: Path, *, finished: bool = True) -> None:
    """Progress, rate, time left, workers and failures of the latest run, drawn anew by itself.

    Args:
        path: the results folder.
        finished: whether a run that is done is shown too.
    """
    progress = runs.progress(path)
    if progress is None or (progress.state == "done" and not finished):
        return
    icon, title, hue = STATES[progress.state]
    with st.container(border=True, key="card_run"):
        st.markdown(f"{icon} **{title}**", help="Read from the run's log; nothing is locked by it.")
        st.progress(progress.share, text=_line(progress))
        if progress.state in ADVICE:
            st.caption(f":{hue}[{ADVICE[progress.state]}]")
        if progress.error:
            st.text(progress.error)
        if progress.state == "running":
            _newest(path, progress)
        if progress.state == "running" and len(progress.workers) > 1:
            _workers(progress)
        if progress.troubles:
            _troubles(progress)


def _line(progress: Progress) -> str:
    parts = [f"{progress.through:,} of {progress.samples:,} samples"]
    if progress.rate:
        slow = progress.rate < 1
        parts.append(
            f"{progress.rate * 60:.1f} a minute" if slow else f"{progress.rate:.1f} a second"
        )
    if progress.left is not None:
        parts.append(f"{runs.duration(progress.left)} left")
    parts.append(f"{progress.updated:%d %b %H:%M:%S} UTC")
    return ", ".join(parts)


def _newest(path: Path, progress: Progress) -> None:
    """The images that the run has sampled last."""
    every = [each for work_unit in progress.newest for each in _images(path, work_unit)]
    shown = every[:MOST_IMAGES]
    if not shown:
        return
    st.caption("Newest images")
    with st.container(horizontal=True, gap="small", key="run_images"):
        for each in shown:
            with st.container(width=SIDE):
                st.image(
                    enlarge(each.image, SIDE), width=SIDE, alt=f"{each.model}, seed {each.seed}"
                )
                st.caption(f"{plain(each.model)}, seed {each.seed}")


@st.cache_data(max_entries=64, show_spinner=False)
def _images(path: Path, work_unit: str) -> tuple[Finished, ...]:
    """A shard is written once, so that what was read of it stays true."""
    return finished.images(path, work_unit, SIDE)


@st.fragment(run_every=EVERY)
def open_when_published(arguments: Sequence[str], path: Path | None) -> None:
    """Draws the page as soon as there is a snapshot to show; nothing where there is one, which something else is wrong with.

    Args:
        arguments: of the command line, that name studies.
        path: the study that the reader has chosen, if one was there to choose.
    """
    key = "_awaited"
    there = _is_published(arguments, path)
    if there and st.session_state.pop(key, False):
        st.rerun()
    st.session_state[key] = not there


def _is_published(arguments: Sequence[str], path: Path | None) -> bool:
    try:
        queries.locate(path or queries.find_studies(arguments)[0])
    except (SnapshotError, IndexError):
        return False
    return True


def _workers(progress: Progress) -> None:
    tables.show(
        pd.DataFrame(
            {
                "worker": each.worker,
                "model": each.model,
                "work units": each.work_units,
                "seconds a work unit": round(each.seconds, 1),
                "failed samples": each.failed,
                "last work unit": each.last,
            }
            for each in progress.workers
        ),
        key="run_workers",
    )


def _troubles(progress: Progress) -> None:
    st.caption("Not everything came out; what failed is tried again by the next run.")
    tables.show(
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
            for each in progress.troubles[:50]
        ),
        key="run_troubles",
    )


def held(path: Path, newest: Snapshot, pinned: Snapshot | None = None) -> Snapshot:
    """The snapshot that this reader looks at: the one of the link, else the one seen first, until they take a newer one or it is gone."""
    seen: dict[str, Snapshot] = st.session_state.setdefault("_held", {})
    if pinned is not None:
        seen[str(path)] = pinned
        return pinned
    earlier = seen.get(str(path))
    if earlier is None or earlier.path == newest.path or not Path(earlier.path).is_file():
        if earlier is not None and earlier != newest:
            st.toast("This study was published anew: this is it.", icon=":material/update:")
        seen[str(path)] = newest
    return seen[str(path)]


@st.fragment(run_every=EVERY)
def offer(path: Path, key: str = "take_snapshot") -> None:
    """A button, where a newer snapshot than the one shown was published."""
    try:
        newest = queries.locate(path)
    except SnapshotError:
        return
    seen: dict[str, Snapshot] = st.session_state.get("_held", {})
    if seen.get(str(path), newest) == newest:
        return
    if st.button(
        "Show the new snapshot",
        icon=":material/update:",
        width="stretch",
        key=key,
        help=f"{Path(newest.path).name} was published since; what you see stays as it is until you take it.",
    ):
        seen[str(path)] = newest
        pins.release()
        st.rerun()
