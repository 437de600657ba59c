"""Fixtures of the browser tests: the app served, and a reader."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from selenium import webdriver

from tests.support.browser import ROOT, Reader, chrome, free_port, healthy, prefers, wait

WINDOW = (1280, 900)


@pytest.fixture(scope="module")
def results(results: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the module's own: its readers save reviews, tags and slices."""
    return Path(shutil.copytree(results, tmp_path_factory.mktemp("served") / results.name))


@pytest.fixture(scope="module")
def server(results: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The app's address, served as a user would."""
    log = tmp_path_factory.mktemp("server") / "log.txt"
    serve = [sys.executable, "-m", "streamlit", "run", "app/main.py", "--server.address=127.0.0.1"]
    process, address = None, ""
    try:
        for _ in range(3):  # another process may take the port before the app does, which then ends
            port = free_port()
            process = start([*serve, f"--server.port={port}", "--", str(results)], log)
            address = f"http://127.0.0.1:{port}"
            wait(partial(has_begun, process, address), log.read_text)
            if process.poll() is None:
                break
        assert process is not None and process.poll() is None, log.read_text()
        yield address
    finally:
        if process is not None:
            process.terminate()
            process.wait(300)


def start(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("w") as out:
        return subprocess.Popen(
            command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )


def has_begun(process: subprocess.Popen[bytes], address: str) -> bool:
    """Whether a server answers, or has ended."""
    return process.poll() is not None or healthy(address)


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """One browser for a module's tests: starting it takes longer than most of them."""
    started = chrome(*WINDOW, dark=False, profile=tmp_path_factory.mktemp("profile"))
    yield started
    started.quit()


@pytest.fixture
def reader(server: str, driver: webdriver.Chrome) -> Reader:
    """A person who comes for the first time: nothing is left of who was there before."""
    driver.get("about:blank")
    everything = {"origin": server, "storageTypes": "all"}
    driver.execute_cdp_cmd("Storage.clearDataForOrigin", everything)
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    driver.set_window_size(*WINDOW)
    prefers(driver, "light")
    shots = os.environ.get("STEPSCOPE_SCREENSHOTS")
    return Reader(driver, server, Path(shots) if shots else None)
