"""A snapshot asked without the app's code, as an oracle."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import duckdb
import pandas as pd


def asked_by_hand(
    snapshot: str, folder: Path, sql: str, values: Sequence[object] = ()
) -> pd.DataFrame:
    """The rows of a statement; of a copy, for the app may hold the snapshot open with other settings."""
    copy = Path(shutil.copy(snapshot, folder / "copy.duckdb"))
    with duckdb.connect(str(copy), read_only=True) as connection:
        return connection.execute(sql, list(values)).df()
