"""What a reader of a big study waits for: `make bench-app`.

The real app serves the study of tests/support/big_study.py to headless Chromium. First paint is counted by the browser, from
navigation to the first chart, number or table; server time is that of the script run, as app/ui/timings.py notes it. No
filter value is used twice in a view, so a change finds its answer in no cache.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

import numpy as np
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from app import warming
from tests.support import big_study
from tests.support.browser import CHROMEDRIVER, CHROMIUM, FILTERS, Reader, chrome, healthy, wait

VIEWS = (
    *("overview", "changes", "timesteps", "prompts", "models", "regions", "words", "schedules"),
    *("paths", "faithfulness", "trust", "review", "figures", "sql", "measures"),
)
FIRST_PAINT, MEDIAN, P95, MEMORY = 2.0, 0.3, 1.0, 1.5  # seconds, seconds, seconds, GB
OPENED = 3  # times that a view is opened anew on the warm server
# Sees the first chart, number, table, picture or empty state that a page shows.
WATCH = """
const shown = '[data-testid=stMain] :is([data-testid=stMetric], [data-testid=stVegaLiteChart] :is(svg, canvas), '
  + '[data-testid=stDataFrame], [data-testid=stImage] img, [class*=st-key-empty_], textarea, h2)';
const look = () => document.querySelector(shown)
  ? (window.firstPaint = performance.now()) : requestAnimationFrame(look);
look();
"""


@dataclass(frozen=True)
class Act:
    """Something a reader does: how (step, add, pick, press, type), to which widget, with what."""

    how: str
    key: str = ""
    value: str = ""


def add(key: str, *values: str) -> list[Act]:
    """Options added to a filter, one after the other."""
    return [Act("add", key, value) for value in values]


def narrowings(turn: int) -> list[tuple[str, list[Act]]]:
    """What the filters and the step control can do to any view: (query to start from, acts).

    Args:
        turn: so that each view is given other categories and words than the one before.
    """
    c = [big_study.CATEGORIES[(turn + i) % len(big_study.CATEGORIES)] for i in range(5)]
    words = big_study.NAMED["object"]
    word = words[turn % len(words)]
    return [
        ("", add("categories", *c[:3])),
        (f"categories={c[3]}", add("families", "colour", "object")),
        ("", add("models", "Base", "Tuned", "Early")),
        (f"slice_text={word}", add("categories", c[4])),
        ("slice_roles=subject", [Act("type", "slice_text", word)]),
    ]


SLICES = 2  # of the narrowings, the last ones
# Some of several seeds, then a slice of them.
SEEDS = [
    ("", [*add("seeds", "1"), *add("seeds", "2")]),
    ("seeds=0&seeds=2", [Act("type", "slice_text", "clock")]),
]
STEPS = ("", [Act("step")] * 4)
OWN: dict[str, list[tuple[str, list[Act]]]] = {
    "overview": [],
    "timesteps": [
        STEPS,
        ("", [Act("press", "which", "All"), *add("concepts", "red", "cat")]),
        ("", [Act("press", "axis", "Step"), Act("press", "measure", "Similarity")]),
    ],
    "prompts": [
        ("", [Act("type", "search", "postcard"), Act("pick", "sort", "CLIP score, highest")]),
        ("", [Act("pick", "sort", "Emergence, latest"), Act("pick", "baseline", "Late")]),
    ],
    "models": [
        STEPS,
        ("", [Act("pick", "baseline", "Late"), Act("pick", "candidate", "Tuned")]),
        ("", [Act("pick", "concept", "furry"), Act("pick", "difference_model", "Late")]),
    ],
    "schedules": [STEPS, ("", [Act("press", "schedule_axis", "Timestep")])],
    "review": [
        ("", [Act("pick", "baseline", "Early"), Act("pick", "candidate", "Tuned")]),
        ("", add("criteria", "Final similarity: object", "Area under the rising curve: colour")),
    ],
}


@dataclass
class Server:
    """The app as a process of its own, with the file in which it notes its reruns."""

    process: subprocess.Popen[bytes]
    address: str
    notes: Path

    def reruns(self) -> list[dict[str, object]]:
        """Every rerun so far."""
        lines = self.notes.read_text().splitlines() if self.notes.exists() else []
        return [json.loads(line) for line in lines]

    def peak_gb(self) -> float:
        """The most memory that the process ever held at once."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 2**20


@dataclass(frozen=True)
class Change:
    """What was done, and how long the server took for it: by the clock, and of its processors' time."""

    what: str
    seconds: float
    cpu: float


@dataclass
class Waits:
    """Seconds waited in a view."""

    cold: float = 0.0
    warm: list[float] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)

    @property
    def seconds(self) -> list[float]:
        """Of every change."""
        return [change.seconds for change in self.changes]


@contextmanager
def served(results: Path) -> Iterator[Server]:
    """The app on a study, as `make app` serves it."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder_name:
        notes, log = Path(folder_name) / "timings.jsonl", Path(folder_name) / "log.txt"
        command = [sys.executable, "-m", "streamlit", "run", "app/main.py"]
        command += ["--server.port", str(port), "--", str(results.resolve())]
        environment = {**os.environ, "STEPSCOPE_TIMINGS": str(notes)}
        with log.open("w") as out:
            process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=out, env=environment)
        try:
            address = f"http://localhost:{port}"
            wait(lambda: healthy(address), log.read_text)
            yield Server(process, address, notes)
        finally:
            process.terminate()
            process.wait(20)


@contextmanager
def reading(server: Server) -> Iterator[Reader]:
    """A person at a browser that watches for the first paint of every page."""
    with tempfile.TemporaryDirectory() as folder_name:
        driver = chrome(1400, 1000, dark=False, profile=Path(folder_name) / "profile")
        try:
            driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": WATCH})
            yield Reader(driver, server.address, Path(folder_name))
        finally:
            driver.quit()


def first_paint(reader: Reader, server: Server, view: str, query: str = "") -> float:
    """Opens a view anew. Returns the seconds to its first chart, number or table."""
    before = len(server.reruns())
    path = "" if view == VIEWS[0] else view  # the first view is the app's own address
    reader.driver.get(f"{server.address}/{path}?{query}")
    wait(lambda: len(server.reruns()) > before, lambda: path)
    reader.settle()
    wait(lambda: reader.driver.execute_script("return window.firstPaint"), lambda: path)
    return float(reader.driver.execute_script("return window.firstPaint")) / 1000


def change(reader: Reader, server: Server, act: Act) -> Change:
    """Does something, and waits until the server has answered."""
    before = len(server.reruns())
    DOING[act.how](reader, act)
    wait(lambda: len(server.reruns()) > before, lambda: str(act))
    reader.settle()
    after = server.reruns()[before:]
    seconds, cpu = (sum(float(str(each[key])) for each in after) for key in ("seconds", "cpu"))
    return Change(f"{act.how} {act.key} {act.value}".strip(), seconds, cpu)


def _step(reader: Reader, act: Act) -> None:
    reader.find(".st-key-step input").send_keys(Keys.ARROW_RIGHT)


def _choose(reader: Reader, act: Act) -> None:
    if act.key in FILTERS and not _there(reader, act.key):
        reader.unfold("filters")
    field_ = reader.find(f".st-key-{act.key} input")
    field_.click()
    field_.send_keys(act.value)
    time.sleep(0.3)
    field_.send_keys(Keys.ENTER)
    if act.how == "add":
        field_.send_keys(Keys.ESCAPE)


def _press(reader: Reader, act: Act) -> None:
    path = f"//*[contains(@class, 'st-key-{act.key}')]//button[contains(., '{act.value}')]"
    button = reader.driver.find_element(By.XPATH, path)
    reader.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
    button.click()


def _type(reader: Reader, act: Act) -> None:
    if act.key.startswith("slice") and not _there(reader, act.key):
        reader.unfold("slice")
        wait(lambda: _there(reader, act.key))
        time.sleep(0.5)  # it slides in, and what is typed before it has the focus is a shortcut
    typed = reader.find(f".st-key-{act.key} input")
    typed.click()
    typed.send_keys(act.value, Keys.ENTER)
    if act.key.startswith("slice"):
        reader.settle()
        typed.send_keys(Keys.ESCAPE)


def _there(reader: Reader, key: str) -> bool:
    return bool(reader.driver.find_elements(By.CSS_SELECTOR, f".st-key-{key} input"))


DOING: dict[str, Callable[[Reader, Act], None]] = {
    "step": _step,
    "add": _choose,
    "pick": _choose,
    "press": _press,
    "type": _type,
}


def look_at(
    server: Server,
    views: Sequence[str],
    starts: int,
    most: int,
    *,
    slices: bool = False,
    seeds: int = 1,
) -> dict[str, Waits]:
    """Opens every view, cold and warm, and changes what can be changed.

    Args:
        server: the app.
        views: to look at.
        starts: at most so many times a view is opened for changes.
        most: changes after each start.
        slices: only those that change a slice of the prompts, or the seeds.
        seeds: that the study has.
    """
    waits_of = {view: Waits() for view in views}
    with reading(server) as reader:
        for view, waits in waits_of.items():
            waits.cold = first_paint(reader, server, view)
            waits.warm = [first_paint(reader, server, view) for _ in range(OPENED)]
        for turn, (view, acts_of) in enumerate(OWN.items()):
            if view in waits_of:
                every = narrowings(turn)[-SLICES:] if slices else [*acts_of, *narrowings(turn)]
                every += SEEDS if seeds > 2 else []
                for start, acts in every[:starts]:
                    first_paint(reader, server, view, start)
                    for act in acts[:most]:
                        waits_of[view].changes.append(change(reader, server, act))
                print(f"{view} done", file=sys.stderr)
    return waits_of


def percentile(values: Sequence[float]) -> float:
    """The 95th percentile."""
    return float(np.percentile(values, 95))


def table(waits_of: dict[str, Waits]) -> str:
    """A line per view, and one for all."""
    lines = [
        "| view | first paint, cold | warm | changes | median | 95th percentile | longest | CPU, median | 95th |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for view, waits in waits_of.items():
        lines.append(_line(view, f"{waits.cold:.2f} s", waits.warm, waits.changes))
    warm = [seconds for waits in waits_of.values() for seconds in waits.warm]
    every = [change for waits in waits_of.values() for change in waits.changes]
    lines.append(_line("all", "", warm, every))
    return "\n".join(lines)


def _line(view: str, cold: str, warm: Sequence[float], changes: Sequence[Change]) -> str:
    start = f"| {view} | {cold} | {statistics.median(warm):.2f} s | {len(changes)} |"
    if not changes:
        return f"{start} | | | | |"
    seconds = [change.seconds for change in changes]
    cpu = [change.cpu for change in changes]
    shown = (statistics.median(seconds), percentile(seconds), max(seconds))
    shown += (statistics.median(cpu), percentile(cpu))
    return start + "".join(f" {1000 * each:.0f} ms |" for each in shown)


def bars(waits_of: dict[str, Waits], peak: float) -> list[tuple[str, str, bool]]:
    """What is wanted, what was measured, and whether it is met."""
    every = [seconds for waits in waits_of.values() for seconds in waits.seconds]
    slowest = max(statistics.median(waits.warm) for waits in waits_of.values())
    middle, high = statistics.median(every), percentile(every)
    return [
        (f"first paint under {FIRST_PAINT:.0f} s", f"{slowest:.2f} s", slowest < FIRST_PAINT),
        (
            f"change under {1000 * MEDIAN:.0f} ms, median",
            f"{1000 * middle:.0f} ms",
            middle < MEDIAN,
        ),
        (f"under {P95:.0f} s, 95th percentile", f"{1000 * high:.0f} ms", high < P95),
        (f"memory under {MEMORY} GB", f"{peak:.2f} GB", peak < MEMORY),
    ]


def machine() -> str:
    """What it was measured on."""
    import duckdb
    import streamlit

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{os.cpu_count()} cores ({platform.machine()}), {memory:.0f} GB, load {os.getloadavg()[0]:.1f}; "
        f"Python {platform.python_version()}, DuckDB {duckdb.__version__}, Streamlit {streamlit.__version__}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the tables; exits 1 where a bar is not met."""
    parser = argparse.ArgumentParser(prog="python tests/bench_app.py", description=__doc__)
    parser.add_argument("--prompts", type=int, default=big_study.PROMPTS, metavar="N")
    parser.add_argument(
        "--seeds",
        type=int,
        default=1,
        metavar="N",
        help="of each prompt; from 3 on, some of them are chosen too",
    )
    parser.add_argument("--folder", type=Path, help="where the study is kept for the next time")
    parser.add_argument("--views", nargs="+", default=VIEWS, choices=VIEWS, metavar="VIEW")
    parser.add_argument(
        "--starts", type=int, default=99, metavar="N", help="of changes, in each view"
    )
    parser.add_argument("--most", type=int, default=9, metavar="N", help="changes after each start")
    parser.add_argument(
        "--slices", action="store_true", help="only changes of a slice, or of the seeds"
    )
    parser.add_argument("--slowest", type=int, default=10, metavar="N", help="changes to list")
    options = parser.parse_args(arguments)
    if not (CHROMIUM and CHROMEDRIVER):
        raise SystemExit(
            "Needs chromium and chromedriver (Debian: apt-get install chromium-driver)."
        )
    name = f"bench-app-{options.prompts}" + (f"-{options.seeds}" if options.seeds > 1 else "")
    folder = options.folder or ROOT / "data" / "results" / name
    size = big_study.build(folder, options.prompts, options.seeds)
    with served(folder) as server:
        # Those that the server draws for nobody are no reader's.
        wait(lambda: {run["view"] for run in server.reruns()} >= {VIEWS[0], *warming.OTHERS})
        waits_of = look_at(
            server,
            options.views,
            options.starts,
            options.most,
            slices=options.slices,
            seeds=options.seeds,
        )
        peak = server.peak_gb()
    print(f"{size / 1e6:.1f} million similarities; {machine()}\n\n{table(waits_of)}\n")
    lines = bars(waits_of, peak)
    for wanted, measured, met in lines:
        print(f"{wanted}: {measured}, {'met' if met else 'NOT MET'}")
    _print_slowest(waits_of, options.slowest)
    return 0 if all(met for _, _, met in lines) else 1


def _print_slowest(waits_of: dict[str, Waits], most: int) -> None:
    every = [(change, view) for view, waits in waits_of.items() for change in waits.changes]
    for each, view in sorted(every, key=lambda pair: -pair[0].seconds)[:most]:
        print(f"{1000 * each.seconds:6.0f} ms (CPU {1000 * each.cpu:.0f})  {view}: {each.what}")


if __name__ == "__main__":
    sys.exit(main())
