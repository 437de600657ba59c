"""A reader of the dashboard who speaks Streamlit's protocol over its websocket, as a browser does."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.sync.client import connect


class Visitor:
    """One browser tab, without a browser."""

    def __init__(self, address: str) -> None:
        url = f"{address.replace('http', 'ws')}/_stcore/stream"
        self._left = ExitStack()
        self.socket = self._left.enter_context(
            connect(url, subprotocols=["streamlit"], origin=address, max_size=None)
        )
        self.elements: dict[str, tuple[str, str]] = {}
        self.offered: dict[str, list[str]] = {}
        self.shown = 0
        # Parts that are drawn anew by themselves -> every so many seconds.
        self.polls: dict[str, float] = {}
        self._page = ""
        self._last = BackMsg()

    def leave(self) -> None:
        """Close the tab."""
        self._left.close()

    def open(self, page: str, query: str = "") -> float:
        """Seconds until a page is complete."""
        message = BackMsg()
        message.rerun_script.page_name = "" if page == "overview" else page
        message.rerun_script.query_string = query
        return self._ask(message)

    def press_run(self, query: str, sql: str) -> float:
        """Seconds until the statement in the editor is answered."""
        message = BackMsg()
        message.rerun_script.page_name = "sql"
        message.rerun_script.query_string = query
        text = message.rerun_script.widget_states.widgets.add()
        text.id, text.string_value = self._find("text_area", "Statement"), sql
        run = message.rerun_script.widget_states.widgets.add()
        run.id, run.trigger_value = self._find("button", "Run"), True
        return self._ask(message)

    def choose(self, page: str, query: str, label: str, values: Sequence[str]) -> float:
        """Seconds until the page shows what a filter leaves; the other controls stand as they did when it was opened."""
        message = BackMsg()
        message.rerun_script.page_name = "" if page == "overview" else page
        message.rerun_script.query_string = query
        widget = message.rerun_script.widget_states.widgets.add()
        widget.id = self._find("multiselect", label)
        widget.string_array_value.data.extend(values)
        return self._ask(message)

    def think(self, seconds: float) -> list[float]:
        """Read the page for so long, while its parts are drawn anew as a browser asks for it; the seconds of each time."""
        start = time.monotonic()
        due = {part: start + every for part, every in self.polls.items()}
        waits = []
        while (
            due and (first := min(due, key=lambda part: due[part])) and due[first] < start + seconds
        ):
            time.sleep(max(0.0, due[first] - time.monotonic()))
            waits.append(self._poll(first))
            due[first] = time.monotonic() + self.polls[first]
        time.sleep(max(0.0, start + seconds - time.monotonic()))
        return waits

    def _poll(self, part: str) -> float:
        message = BackMsg()
        message.CopyFrom(self._last)
        message.rerun_script.page_name = ""
        message.rerun_script.page_script_hash = self._page
        message.rerun_script.fragment_id = part
        message.rerun_script.is_auto_rerun = True
        return self._answered(message)

    def options(self, label: str) -> list[str]:
        """What a filter offers; nothing where the page does not have it."""
        return self.offered.get(label, [])

    def _find(self, kind: str, label: str) -> str:
        return next(key for key, element in self.elements.items() if element == (kind, label))

    def _ask(self, message: BackMsg) -> float:
        self._last = message
        self.polls = {}
        return self._answered(message)

    def _answered(self, message: BackMsg) -> float:
        start = time.perf_counter()
        self.socket.send(message.SerializeToString())
        while True:
            answer = ForwardMsg()
            answer.ParseFromString(self.socket.recv(timeout=300))
            if answer.WhichOneof("type") == "delta":
                self._note(answer)
            elif answer.WhichOneof("type") == "new_session":
                self._page = answer.new_session.page_script_hash
            elif answer.WhichOneof("type") == "auto_rerun":
                self.polls[answer.auto_rerun.fragment_id] = answer.auto_rerun.interval
            elif answer.WhichOneof("type") == "script_finished":
                return time.perf_counter() - start

    def _note(self, message: ForwardMsg) -> None:
        self.shown += 1
        element = message.delta.new_element
        kind = element.WhichOneof("type")
        if kind in {"text_area", "button", "multiselect"}:
            widget = getattr(element, kind)
            self.elements[widget.id] = (kind, widget.label)
        if kind == "multiselect":
            self.offered[element.multiselect.label] = list(element.multiselect.options)
        if kind == "exception":
            raise RuntimeError(element.exception.message)


def memory_gb(pid: int, field: str) -> float:
    """Of a process: VmRSS now, VmHWM at most so far."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split(f"{field}:")[1].split()[0]) / 2**20


def said(what: str, seconds: Sequence[float]) -> float:
    """Prints median, 95th percentile and most of some waits as a row; returns the 95th percentile, infinite where nobody waited."""
    ordered = sorted(seconds)
    if not ordered:
        print(f"| {what} | 0 | – | – | – |", flush=True)
        return math.inf
    high = ordered[int(0.95 * (len(ordered) - 1))]
    print(
        f"| {what} | {len(ordered)} | {statistics.median(ordered):.2f} s | {high:.2f} s | {ordered[-1]:.2f} s |",
        flush=True,
    )
    return high
