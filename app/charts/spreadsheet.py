"""CSV that a spreadsheet shows as it is: no cell becomes a formula."""

from __future__ import annotations

from typing import Any

import pandas as pd

# What Excel, LibreOffice and Google Sheets take for the beginning of a formula.
STARTS = ("=", "+", "-", "@", "\t", "\n")


def harmless(data: pd.DataFrame) -> pd.DataFrame:
    """The rows with an apostrophe before every text and column name that a spreadsheet would compute.

    Source: OWASP, CSV injection. Numbers stay numbers; a carriage return becomes a line feed; all other text is as it was.
    """
    return data.rename(columns=_quoted).map(_quoted)


def _quoted(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    # pandas puts no quotes around a lone carriage return, and readers then see another row.
    text = value.replace("\r\n", "\n").replace("\r", "\n")
    return f"'{text}" if text.startswith(STARTS) else text
