"""Which study a path or a name means, and how it is opened."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app.database import snapshots
from app.figures.source import asker_of
from stepscope.errors import StudyError
from stepscope.refusals import one_line
from stepscope.study import Study

RESULTS = Path("data") / "results"


def open_study(source: str | Path, filters: Mapping[str, Any]) -> Study:
    """See `stepscope.open`."""
    path = locate(source)
    with one_line():
        snapshot = snapshots.locate(path)
        connection = snapshots.connect(snapshot.path, **snapshots.ONE_THREAD)
        try:
            snapshots.check(snapshot, asker_of(connection))
            return Study(str(path), snapshot, connection, {}).where(**filters)  # type: ignore[arg-type]
        except BaseException:
            connection.close()
            raise


def locate(source: str | Path) -> Path:
    """The folder or file that a path or the name of a study stands for.

    Raises:
        StudyError: there is none; names those that there are.
    """
    path = Path(source).expanduser()
    roots = list(dict.fromkeys([Path.cwd(), snapshots.ROOT]))
    named = [root / RESULTS / path for root in roots] if len(path.parts) == 1 else []
    shipped = [snapshots.SHIPPED] if str(source) == snapshots.SHIPPED.name else []
    for each in (path, *named, *shipped):
        if each.exists():
            return each
    known = sorted(
        {p.parent.name for root in roots for p in (root / RESULTS).glob("*/current.json")}
    )
    there = f"Studies in {RESULTS}: {', '.join(known)}." if known else f"No study is in {RESULTS}: make demo."  # fmt: skip
    raise StudyError(f"There is no study at {str(source)!r}. {there}")
