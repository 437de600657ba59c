"""What 30 readers at once wait for: `make load RESULTS=DIR`.

The real app serves a results folder. Every reader opens a page over Streamlit's websocket, as a browser does, reads for some
seconds (exponential, 10 on average) and then changes a filter to values drawn at random; every tenth time another page is
opened. Meanwhile the parts of a page that look for a new snapshot or a run are drawn anew every 3 s. Prints the seconds until a page or a change is answered, and the server's memory.
"""

from __future__ import annotations

import argparse
import random
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

from tests.bench_app import VIEWS, Server, served
from tests.support.visitor import Visitor, memory_gb, said

READERS, THINKS, PAGE_EVERY = 30, 10.0, 10
P95, MEMORY = 1.5, 1.0  # seconds, GB
FILTERS = (
    ":material/neurology: Models",
    ":material/category: Concept families",
    ":material/sell: Prompt categories",
    ":material/casino: Seeds",
)
PAGES = [view for view in VIEWS if view not in {"sql", "measures", "changes"}]  # those with filters


def read(server: Server, number: int, end: float, waits: dict[str, list[float]]) -> None:
    """One reader, until the end."""
    chance = random.Random(number)
    time.sleep(chance.random() * THINKS)
    while time.monotonic() < end:
        page = chance.choice(PAGES)
        visitor = Visitor(server.address)
        waits["page"].append(visitor.open(page))
        for _ in range(PAGE_EVERY - 1):
            waits["poll"] += visitor.think(chance.expovariate(1 / THINKS))
            offered = [label for label in FILTERS if len(visitor.options(label)) > 1]
            if time.monotonic() > end or not offered:
                break
            label = chance.choice(offered)
            options = visitor.options(label)
            values = chance.sample(options, chance.randint(1, len(options) - 1))
            waits["change"].append(visitor.choose(page, "", label, values))
        visitor.leave()


def main() -> int:
    """Measure, print a table, and exit non-zero if a target is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("--seconds", type=float, default=120, help="of reading")
    options = parser.parse_args()
    waits: dict[str, list[float]] = {"page": [], "change": [], "poll": []}
    with served(options.results) as server:
        first = Visitor(server.address)
        for page in PAGES:  # fills the caches that the first reader of a day fills
            first.open(page)
        first.leave()
        end = time.monotonic() + options.seconds
        readers = [
            threading.Thread(target=read, args=(server, i, end, waits)) for i in range(READERS)
        ]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        memory = memory_gb(server.process.pid, "VmHWM")
    print("| answered | times | median | 95th percentile | most |\n|---|---|---|---|---|")
    said("a page opened", waits["page"])
    high = said("a filter changed", waits["change"])
    said("a part drawn anew by itself", waits["poll"])
    print(f"\nServer: {memory:.2f} GB at most.")
    return 0 if high < P95 and memory < MEMORY else 1


if __name__ == "__main__":
    sys.exit(main())
