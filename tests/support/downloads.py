"""What the download buttons of a page would give, without a browser."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from streamlit.runtime.media_file_manager import MediaFileManager


class Downloads:
    """The files of a page's deferred download buttons, made when they are asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.files: dict[str, Callable[[], bytes]] = {}
        add = MediaFileManager.add_deferred

        def note(
            manager: Any, data: Any, *arguments: Any, file_name: str | None = None, **named: Any
        ):
            self.files[str(file_name)] = data
            return add(manager, data, *arguments, file_name=file_name, **named)

        monkeypatch.setattr(MediaFileManager, "add_deferred", note)

    def table(self, card: str) -> pd.DataFrame:
        """The CSV of a card, by its key."""
        name = f"stepscope-{card}.csv"
        assert name in self.files, f"no card {card!r}; there are {sorted(self.files)}"
        return pd.read_csv(io.BytesIO(self.files[name]()))
