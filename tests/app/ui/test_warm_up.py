"""The server: what it imports before its first reader has a page to wait for."""

from __future__ import annotations

import subprocess
import sys

from tests.support.browser import ROOT

SCRIPT = """
import sys, threading
import app.main
for thread in threading.enumerate():
    if thread.name == "warm-up":
        thread.join()
missing = {"app.charts.curves", "app.ui.answer_panels", "app.figures.export", "scipy.special"} - set(sys.modules)
assert not missing, missing
assert "torch" not in sys.modules
app.main.warm_up()
"""


def test_the_views_modules_are_imported_while_the_browser_loads() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
