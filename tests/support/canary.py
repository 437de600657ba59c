"""A study whose every text says what Markdown, HTML, LaTeX or an emoji shortcode would make something of."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb

WORD = "canary7"
CANARY = (
    f"{WORD} ![i](http://{WORD}.invalid/x.png) [l](http://{WORD}.invalid/) **b** `c` <img src=http://{WORD}.invalid/y.png> "
    f"http://{WORD}.invalid/z $x^2$ :red[r] :smile: :material/home: ~~s~~ :small[q]"
)
LIVE = ("![i]", "[l](", "**b**", "`c`", "<img", f"http://{WORD}.invalid/z", "$x^2$", ":red[r]", ":smile:", ":material/home:", "~~s~~", ":small[q]")  # fmt: skip
"""Parts of the canary that stand unescaped where it was not made text."""

# Columns that the app looks up or branches on: another text there is another study, not other words in it.
KEYS = {
    ("sample", "status"), ("trajectory", "kind"), ("study", "spec"), ("study", "content_hash"), ("model", "prediction_type"),
    ("failure", "stage"), ("mention", "role"), ("token_attention", "role"), ("faithfulness", "game"), ("faithfulness", "score"),
    ("prompt", "prompt_key"), ("frame", "kind"), ("projection", "kind"), ("token_attention", "source"), ("path", "kind"), ("localisation", "target"),
}  # fmt: skip


def spoil(database: Path) -> int:
    """Put the canary into every text of a snapshot, one number after it to keep texts distinct; returns how many columns."""
    with duckdb.connect(str(database)) as connection:
        columns = connection.execute(
            "SELECT table_schema, table_name, column_name FROM information_schema.columns JOIN information_schema.tables "
            "USING (table_schema, table_name) WHERE data_type = 'VARCHAR' AND table_type = 'BASE TABLE'"
        ).fetchall()
        done = 0
        for schema, table, column in columns:
            if (table, column) in KEYS:
                continue
            connection.execute(
                f'UPDATE "{schema}"."{table}" SET "{column}" = $text || \' \' || "{column}" WHERE "{column}" IS NOT NULL',
                {"text": CANARY},
            )
            done += 1
    return done


def texts(message: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every text of a protobuf message with its place, such as `markdown.body`."""
    for field, value in message.ListFields():
        name = f"{path}.{field.name}" if path else field.name
        repeated = (
            value
            if isinstance(value, list) or hasattr(value, "append") or hasattr(value, "add")
            else [value]
        )
        for each in repeated:
            if isinstance(each, str):
                yield name, each
            elif hasattr(each, "ListFields"):
                yield from texts(each, name)


def links(spec: str) -> list[str]:
    """What in a chart's description leads or loads somewhere: `href` channels and pictures by an address that is no data."""
    seen: list[str] = []

    def walk(part: Any) -> None:
        if isinstance(part, dict):
            seen.extend(key for key in part if key == "href")
            if isinstance(part.get("url"), str) and not part["url"].startswith("data:"):
                seen.append(part["url"])
            for each in part.values():
                walk(each)
        elif isinstance(part, list):
            for each in part:
                walk(each)

    walk(json.loads(spec))
    return seen
