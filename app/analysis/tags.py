"""Tags that people give to prompts: the numbers 1 to 9, kept beside the study with its reviews. No Streamlit."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from pathlib import Path

from app.database import notebook

TAGS = range(1, 10)
LONGEST_KEY = 100  # of a prompt


def by_prompt(store: Path) -> dict[str, list[int]]:
    """The tags of every prompt that has one: prompt_key -> numbers, ascending.

    Raises:
        ReviewError: the file cannot be read.
    """
    rows, _ = notebook.rows(store, "tag", "tags", {"prompt_key": str, "tag": int})
    tags: dict[str, list[int]] = {}
    for row in rows:
        if row["tag"] in TAGS and len(row["prompt_key"]) <= LONGEST_KEY:
            tags.setdefault(row["prompt_key"], []).append(row["tag"])
    return tags


def tagged(store: Path, wanted: Collection[int]) -> list[str]:
    """prompt_key of the prompts that have one of these tags.

    Raises:
        ReviewError: the file cannot be read.
    """
    return [key for key, tags in by_prompt(store).items() if not set(tags).isdisjoint(wanted)]


def toggle(store: Path, prompt_key: str, tag: int) -> None:
    """Give a prompt a tag, or take it where the prompt has it.

    Raises:
        ReviewError: it cannot be written.
    """
    values = {"prompt_key": prompt_key, "tag": tag}
    if tag in by_prompt(store).get(prompt_key, ()):
        notebook.write(store, ("drop_tag", values))
    else:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        notebook.write(store, ("add_tag", {**values, "written_at": now}))


def add(store: Path, prompt_keys: Iterable[str], tag: int) -> None:
    """Give prompts a tag; one that has it keeps it. All get it, or none.

    Raises:
        ReviewError: it cannot be written.
    """
    now = datetime.now(UTC).isoformat(timespec="seconds")
    values = ({"prompt_key": key, "tag": tag, "written_at": now} for key in prompt_keys)
    notebook.write(store, *(("add_tag", each) for each in values))
