"""How smoothly pictures follow the step in the browser: `make bench-steps RESULTS=DIR`.

The real app serves a study to headless Chromium at 1280 x 720, whose step slider is moved once a frame, as a finger
does. Counted are the frames in which a picture was painted, and the longest pause between two of them. The pictures of
a film strip stay: of it are counted the frames in which the step bar said another step, and the outlines were moved to it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

import itertools

from tests.bench_app import machine, served
from tests.support.browser import Reader, chrome, wait

WANTED = 30.0  # frames a second
SECONDS = 5
PAGES = (
    ("Timesteps, contact sheet", "/timesteps"),
    ("Timesteps, film strip", "/timesteps?mode=Over+the+steps"),
    ("Regions, maps of every tool", "/regions"),
)
MOVE = """
    const [seconds, strip, done] = arguments
    const slider = document.querySelector('.st-key-step input')
    const last = Number(slider.max)
    const times = []
    let painted = 0, by = 1
    const draw = CanvasRenderingContext2D.prototype.drawImage
    CanvasRenderingContext2D.prototype.drawImage = function (...all) { painted += 1; return draw.apply(this, all) }
    const shown = document.querySelector('.steps-place')
    let said = shown.textContent
    const end = performance.now() + 1000 * seconds
    const frame = (now) => {
        if (strip ? shown.textContent !== said : painted) times.push(now)
        painted = 0
        said = shown.textContent
        if (performance.now() > end) {
            CanvasRenderingContext2D.prototype.drawImage = draw
            return done(times)
        }
        const at = Number(slider.value)
        if (at + by > last || at + by < 0) by = -by
        slider.value = at + by
        slider.dispatchEvent(new Event('input', {bubbles: true}))
        requestAnimationFrame(frame)
    }
    requestAnimationFrame(frame)
"""
READY = "return document.querySelectorAll('.steps-image').length"


def smoothness(reader: Reader, path: str) -> tuple[int, float, float]:
    """Pictures of a page, frames a second in which they moved, and the longest pause in ms."""
    reader.open(path)
    wait(lambda: reader.driver.execute_script(READY))
    reader.driver.set_script_timeout(10 * SECONDS)
    strip = "mode=Over" in path
    reader.driver.execute_async_script(MOVE, 1, strip)  # each image is decoded once
    times = reader.driver.execute_async_script(MOVE, SECONDS, strip)
    pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
    seconds = (times[-1] - times[0]) / 1000
    return int(reader.driver.execute_script(READY)), len(pauses) / seconds, max(pauses)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 1 where a page misses the target."""
    parser = argparse.ArgumentParser(prog="python tests/bench_steps.py", description=__doc__)
    parser.add_argument("results", type=Path, help="a results folder with frames and maps")
    options = parser.parse_args(arguments)
    slowest = WANTED
    print(
        f"{machine()}\n\n| page | pictures | frames a second | longest pause |\n|---|---|---|---|"
    )
    with served(options.results) as server, tempfile.TemporaryDirectory() as profile:
        driver = chrome(1280, 863, dark=False, profile=Path(profile))
        try:
            reader = Reader(driver, server.address, Path(profile))
            for title, path in PAGES:
                pictures, rate, pause = smoothness(reader, path)
                slowest = min(slowest, rate)
                print(f"| {title} | {pictures} | {rate:.0f} | {pause:.0f} ms |", flush=True)
        finally:
            driver.quit()
    print(f"\nat least {WANTED:.0f} frames a second: {'met' if slowest >= WANTED else 'NOT MET'}")
    return int(slowest < WANTED)


if __name__ == "__main__":
    sys.exit(main())
