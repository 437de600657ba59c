"""What other readers wait for while 20 heavy statements run or wait: `make load-sql RESULTS=DIR`.

The real app serves a results folder. Visitors speak Streamlit's protocol over its websocket, as a browser does: 20 of them
press Run on the SQL page, each with another heavy statement, again and again; one opens the other pages, one after the
other. Prints the seconds until each page is complete, without and with the load, and the server's memory.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import threading
import time
import urllib.parse
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT)]

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.sync.client import connect

from tests.attacks.statements import HEAVY
from tests.bench_app import VIEWS, Server, served

READERS = 20
MEDIAN, MEMORY = 1.0, 1.2  # seconds, GB: the targets
OTHERS = [view for view in VIEWS if view != "sql"]


class Visitor:
    """One browser tab."""

    def __init__(self, address: str) -> None:
        url = f"{address.replace('http', 'ws')}/_stcore/stream"
        self._left = ExitStack()
        self.socket = self._left.enter_context(
            connect(url, subprotocols=["streamlit"], origin=address, max_size=None)
        )
        self.elements: dict[str, tuple[str, str]] = {}
        self.shown = 0

    def leave(self) -> None:
        """Close the tab."""
        self._left.close()

    def open(self, page: str, query: str = "") -> float:
        """Seconds until a page is complete."""
        message = BackMsg()
        message.rerun_script.page_name = "" if page == VIEWS[0] else page
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

    def _find(self, kind: str, label: str) -> str:
        return next(key for key, element in self.elements.items() if element == (kind, label))

    def _ask(self, message: BackMsg) -> float:
        start = time.perf_counter()
        self.socket.send(message.SerializeToString())
        while True:
            answer = ForwardMsg()
            answer.ParseFromString(self.socket.recv(timeout=300))
            if answer.WhichOneof("type") == "delta":
                self._note(answer)
            elif answer.WhichOneof("type") == "script_finished":
                return time.perf_counter() - start

    def _note(self, message: ForwardMsg) -> None:
        self.shown += 1
        element = message.delta.new_element
        kind = element.WhichOneof("type")
        if kind in {"text_area", "button"}:
            widget = getattr(element, kind)
            self.elements[widget.id] = (kind, widget.label)
        if kind == "exception":
            raise RuntimeError(element.exception.message)


def ask_heavily(server: Server, number: int, stop: threading.Event, asked: list[str]) -> None:
    """A reader who presses Run until the end, with one statement after another."""
    turn = number
    while not stop.is_set():
        sql = HEAVY[turn % len(HEAVY)]
        query = f"q={urllib.parse.quote(sql)}" if len(sql) < 2000 else ""
        visitor = Visitor(server.address)
        try:
            visitor.open("sql", query)
            if not stop.is_set():
                visitor.press_run(query, sql)
                asked.append(sql)
        finally:
            visitor.leave()
        turn += READERS


def look_around(server: Server, seconds: float) -> list[float]:
    """Seconds until each other page is complete, opened in turn for so long: each visit is a new tab."""
    waits: list[float] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end or len(waits) < len(OTHERS):
        visitor = Visitor(server.address)
        waits.append(visitor.open(OTHERS[len(waits) % len(OTHERS)]))
        assert visitor.shown > 5, "an empty page"
        visitor.leave()
        time.sleep(0.1)
    return waits


def memory_gb(pid: int, field: str) -> float:
    """Of a process: VmRSS now, VmHWM at most so far."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split(f"{field}:")[1].split()[0]) / 2**20


def said(what: str, seconds: list[float]) -> None:
    """Print median, 95th percentile and most of the waits."""
    ordered = sorted(seconds)
    high = ordered[int(0.95 * (len(ordered) - 1))]
    print(
        f"| {what} | {len(ordered)} | {statistics.median(ordered):.2f} s | {high:.2f} s | {ordered[-1]:.2f} s |",
        flush=True,
    )


def main() -> int:
    """Measure, print a table, and exit non-zero if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("--seconds", type=float, default=60, help="of load")
    options = parser.parse_args()
    with served(options.results) as server:
        look_around(server, 0)  # fills the caches
        print("| pages opened | visits | median | 95th percentile | most |\n|---|---|---|---|---|")
        said("alone", look_around(server, 0))
        stop, asked = threading.Event(), []
        readers = [threading.Thread(target=ask_heavily, args=(server, i, stop, asked)) for i in range(READERS)]  # fmt: skip
        for reader in readers:
            reader.start()
        time.sleep(5)
        busy = look_around(server, options.seconds)
        said(f"beside {READERS} heavy statements", busy)
        peak = memory_gb(server.process.pid, "VmHWM")
        print(
            f"\nServer: {memory_gb(server.process.pid, 'VmRSS'):.2f} GB now, {peak:.2f} GB at most; {len(asked)} statements ended meanwhile."
        )
        stop.set()
        for reader in readers:
            reader.join()
        print(
            f"All {len(asked)} statements ended; {memory_gb(server.process.pid, 'VmHWM'):.2f} GB at most."
        )
    return 0 if statistics.median(busy) < MEDIAN and peak < MEMORY else 1


if __name__ == "__main__":
    sys.exit(main())
