"""The pointer is read once: while a publisher moves it and removes old snapshots, none is ever said to be gone."""

import json
import threading
from pathlib import Path

from app.database import snapshots


def publish_often(folder: Path, stop: threading.Event) -> None:
    """What publish does: a new file, the pointer replaced, the old file removed."""
    number = 1
    while not stop.is_set():
        number += 1
        (folder / "snapshots" / f"demo-{number:06d}.duckdb").write_text("new")
        point(folder, number)
        (folder / "snapshots" / f"demo-{number - 1:06d}.duckdb").unlink()
        stop.wait(0.0005)


def point(folder: Path, number: int) -> None:
    new = folder / "new.json"
    new.write_text(json.dumps({"snapshot": f"snapshots/demo-{number:06d}.duckdb"}))
    new.replace(folder / "current.json")


def test_no_snapshot_is_gone_while_others_are_published(tmp_path):
    (tmp_path / "snapshots").mkdir()
    (tmp_path / "snapshots" / "demo-000001.duckdb").write_text("first")
    point(tmp_path, 1)
    stop = threading.Event()
    publisher = threading.Thread(target=publish_often, args=(tmp_path, stop))
    publisher.start()
    try:
        snapshots_read = [snapshots.find(tmp_path, older=True) for _ in range(2_000)]
    finally:
        stop.set()
        publisher.join()
    assert not any(each.stands_in for each in snapshots_read)
    assert len({each.snapshot for each in snapshots_read}) > 1, "the pointer moved meanwhile"


def test_a_page_and_a_figure_of_one_process_read_the_same_snapshot(one_model):
    """DuckDB refuses a second connection of other settings; whichever came first, both are answered."""
    path = str(snapshots.locate(one_model).path)
    for first, second in (({}, snapshots.ONE_THREAD), (snapshots.ONE_THREAD, {})):
        with snapshots.connect(path, **first) as one, snapshots.connect(path, **second) as two:
            answers = [
                each.execute("SELECT count(*) FROM sample").fetchall() for each in (one, two)
            ]
            assert answers[0] == answers[1]
