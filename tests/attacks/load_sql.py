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
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT)]

from tests.attacks.statements import HEAVY
from tests.bench_app import VIEWS, Server, served
from tests.support.visitor import Visitor, memory_gb, said

READERS = 20
MEDIAN, MEMORY = 1.0, 1.2  # seconds, GB: the targets
OTHERS = [view for view in VIEWS if view != "sql"]


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
