"""30 readers and 20 writers of one reviews' file at once, in processes and threads: nothing that was saved is lost."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from app.analysis import reviews, slices
from app.analysis.reviews import Criterion, Review
from app.database import notebook
from app.database.notebook import BusyError

READERS, WRITERS, EACH = 30, 20, 10
REVIEW = Review("", "", "Ada", "May it?", "a", "b", "", 1, "h", (Criterion("m", "higher", 0.0), Criterion("n", "lower", 0.0)))  # fmt: skip


def saved(act: Callable[..., object], *arguments: object) -> object:
    """Save, again where the file was busy, as a person does who is told to: after a while."""
    while True:
        try:
            return act(*arguments)
        except BusyError:
            time.sleep(0.1)


def write(store: Path, writer: int) -> dict[str, list[str]]:
    """What one writer saved: reviews, a note to each, slices."""
    done: dict[str, list[str]] = {"reviews": [], "notes": [], "slices": []}
    for number in range(EACH):
        name = f"writer {writer}, {number}"
        kept = saved(reviews.keep, store, replace(REVIEW, question=name))
        assert isinstance(kept, Review)
        saved(reviews.add_note, store, kept.review_id, "note", "Ada", name, 1, "h")
        saved(slices.save, store, name, {"slice_text": name})
        done["reviews"].append(kept.review_id)
        done["notes"].append(name)
        done["slices"].append(name)
    return done


def read(store: Path, stop: threading.Event, broken: list[str]) -> None:
    """Read until told to stop; whatever is read is whole."""
    while not stop.is_set():
        try:
            for each in reviews.all_reviews(store):
                if len(each.criteria) != len(REVIEW.criteria):
                    broken.append(each.review_id)
            slices.saved(store)
        except BusyError:
            stop.wait(0.05)
        except Exception as error:
            broken.append(repr(error))
        stop.wait(0.02)


def test_nothing_is_lost(tmp_path: Path) -> None:
    store = notebook.store_of(tmp_path)
    stop, broken, done = threading.Event(), [], []  # type: ignore[var-annotated]
    readers = [threading.Thread(target=read, args=(store, stop, broken)) for _ in range(READERS)]
    half = WRITERS // 2
    writers = [threading.Thread(target=lambda n=n: done.append(write(store, n))) for n in range(half)]  # fmt: skip
    command = [sys.executable, "-m", "tests.attacks.test_readers_and_writers", str(store)]
    root = Path(__file__).resolve().parents[2]
    others = [
        subprocess.Popen([*command, str(n)], cwd=root, stdout=subprocess.PIPE, text=True)
        for n in range(half, WRITERS)
    ]
    for thread in (*readers, *writers):
        thread.start()
    for process in others:
        out, _ = process.communicate()
        assert process.returncode == 0
        done.append(json.loads(out))
    for thread in writers:
        thread.join()
    stop.set()
    for thread in readers:
        thread.join()
    assert broken == [] and len(done) == WRITERS
    for _ in range(100):
        if not notebook.is_held(store):
            break
        threading.Event().wait(0.2)
    readable, unreadable = reviews.readable_reviews(store)
    assert unreadable == 0
    assert {each.review_id for each in readable} == {r for d in done for r in d["reviews"]}
    notes = {note.text for each in readable for note in reviews.notes_of(store, each.review_id)}
    assert notes == {name for d in done for name in d["notes"]}
    names = {name for d in done for name in d["slices"]}
    assert len(names) == WRITERS * EACH and set(slices.saved(store)) == names


if __name__ == "__main__":
    print(json.dumps(write(Path(sys.argv[1]), int(sys.argv[2]))))
