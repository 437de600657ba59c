"""Slices: the part of a study's prompts that a reader looks at, and the slices that people saved. No Streamlit.

A slice is what its widgets hold, by their keys, so that it is part of the URL. Saved slices live beside the study, in
the database of the reviews, never in the snapshot.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from app.analysis import tags
from app.analysis.numbers import Range
from app.database import notebook
from app.database.notebook import ReviewError

ROLES = ("subject", "relation", "object", "attribute")
MEASURES = {
    "": "nothing",
    "final": "final similarity to the prompt",
    "spread": "how far the models are apart at the end",
    "rise": "rise from the first step to the last",
    "auc": "area under the curve (high = early)",
    "spearman": "correlation with the step",
    "emergence": "emergence step of its concepts",
}
"""What prompts can be ranked by: its key in slice_prompts.sql and what a reader sees."""

SCORE = re.compile(r"score:([a-z0-9][a-z0-9._-]{0,39})")
"""A score that another program computed, as a key of what prompts can be ranked by."""


def measure_title(key: str) -> str:
    """What a reader sees of a key of MEASURES, or of a score of another program."""
    return MEASURES[key] if key in MEASURES else key.removeprefix("score:")


def is_measure(key: Any) -> bool:
    """Whether prompts can be ranked by it; that a study has the score is not asked."""
    return isinstance(key, str) and (key in MEASURES or SCORE.fullmatch(key) is not None)


KEYS: dict[str, type | tuple[type, ...]] = {
    "categories": list,
    "slice_text": str,
    "slice_fewest": int,
    "slice_most": int,
    "slice_roles": list,
    "slice_tags": list,
    "slice_by": str,
    "slice_low": (int, float),
    "slice_high": (int, float),
    "slice_order": str,
    "slice_top": int,
    "slice_x_low": (int, float),
    "slice_x_high": (int, float),
    "slice_y_low": (int, float),
    "slice_y_high": (int, float),
}
"""The widgets whose values make up a slice, and what a saved value must be."""

AXES = ("x", "y")
"""Of the map of images: the first and the second principal component."""
REGION = tuple(f"slice_{axis}_{end}" for axis in AXES for end in ("low", "high"))
"""The limits of a region of the map."""
ORDERS = {"Highest": -1, "Lowest": 1}
ALLOWED: dict[str, Collection[Any]] = {"slice_by": MEASURES, "slice_order": ORDERS}
LONGEST_NAME = 60
MOST_SAVED = 200
LONGEST_TEXT = 200
LARGEST = 10_000
NUMBERS = {
    "slice_fewest": Range(0, LARGEST),
    "slice_most": Range(0, LARGEST),
    "slice_top": Range(0, LARGEST),
    "slice_tags": Range(tags.TAGS[0], tags.TAGS[-1]),
    "slice_low": Range(-1e6, 1e6, whole=False),
    "slice_high": Range(-1e6, 1e6, whole=False),
    **{key: Range(-1e6, 1e6, whole=False) for key in REGION},
}
"""What the numbers of a slice may be, whoever writes them."""


def question(state: Mapping[str, Any]) -> dict[str, Any] | None:
    """The parameters of slice_prompts.sql for what the widgets hold, or None where they ask for nothing.

    Args:
        state: value by the keys of KEYS; one that is missing asks for nothing.
    """
    by = state.get("slice_by") or ""
    asked = {
        "text": (state.get("slice_text") or "").strip(),
        "fewest": state.get("slice_fewest"),
        "most": state.get("slice_most"),
        "roles": list(state.get("slice_roles") or ()),
        "tags": list(state.get("slice_tags") or ()),
        "measure": by,
        "low": state.get("slice_low") if by else None,
        "high": state.get("slice_high") if by else None,
        "top": int(state.get("slice_top") or 0) if by else 0,
        "direction": ORDERS[state.get("slice_order") or "Highest"],
        **{key.removeprefix("slice_"): state.get(key) for key in REGION},
    }
    ranked = asked["top"] or asked["low"] is not None or asked["high"] is not None
    plain = [asked[key] for key in ("text", "roles", "tags", "fewest", "most")]
    plain += [state.get(key) for key in REGION]
    if not ranked and not any(each not in ("", [], None) for each in plain):
        return None
    return asked if ranked else {**asked, "measure": ""}


def sentence(asked: Mapping[str, Any]) -> str:
    """The slice in words, without the categories."""
    parts = []
    if asked["text"]:
        parts.append(f"text has “{asked['text']}”")
    for name, word in (("fewest", "at least"), ("most", "at most")):
        if asked[name] is not None:
            parts.append(f"{word} {asked[name]} words")
    if asked["roles"]:
        parts.append("has " + ", ".join(asked["roles"]))
    if asked.get("tags"):
        parts.append("tagged " + " or ".join(str(tag) for tag in sorted(asked["tags"])))
    if asked["measure"]:
        title = measure_title(asked["measure"])
        for name, word in (("low", "at least"), ("high", "at most")):
            if asked[name] is not None:
                parts.append(f"{title} {word} {asked[name]:g}")
        if asked["top"]:
            which = next(name for name, sign in ORDERS.items() if sign == asked["direction"])
            parts.append(f"the {asked['top']} {which.lower()} by {title}")
    parts += _region_in_words(asked)
    return "; ".join(parts)


def _region_in_words(asked: Mapping[str, Any]) -> list[str]:
    """The region of the map, if there is one."""
    said = []
    for axis in AXES:
        low, high = asked.get(f"{axis}_low"), asked.get(f"{axis}_high")
        if low is not None and high is not None:
            said.append(f"{axis} {low:g} to {high:g}")
        elif low is not None or high is not None:
            said.append(f"{axis} from {low:g}" if low is not None else f"{axis} to {high:g}")
    return [f"on the map at {', '.join(said)}"] if said else []


def region(brush: Mapping[str, Any]) -> dict[str, float]:
    """A rectangle dragged on the map of images as values of a slice's keys, to 4 decimals.

    Args:
        brush: both limits of `x` and of `y`, in any order, as the browser tells them.

    Returns:
        the values of REGION; none where the limits are no numbers in range.
    """
    values: dict[str, float] = {}
    for axis in AXES:
        ends = brush.get(axis)
        if not isinstance(ends, list | tuple) or len(ends) != 2:
            return {}
        for key, pick in ((f"slice_{axis}_low", min), (f"slice_{axis}_high", max)):
            checked = [NUMBERS[key].check(end) for end in ends]
            if any(end is None for end in checked):
                return {}
            values[key] = round(pick(end for end in checked if end is not None), 4)
    return values


def tokens(state: Mapping[str, Any]) -> tuple[str, ...]:
    """The slice as words of a command line, without the categories: text=cat, roles=subject, by=final, top=5."""
    if question(state) is None:
        return ()
    out = []
    for key in KEYS:
        value = state.get(key)
        if key == "categories" or _is_unset(key, value):
            continue
        for each in value if isinstance(value, list | tuple) else [value]:
            out.append(f"{key.removeprefix('slice_')}={each}")
    return tuple(out)


def _is_unset(key: str, value: Any) -> bool:
    """Whether a widget asks for nothing; 0 does where it is a count, and is a limit elsewhere."""
    return value in (None, "", []) or (value == 0 and key == "slice_top")


def parsed(words: Sequence[str]) -> dict[str, Any]:
    """The inverse of `tokens`.

    Raises:
        ValueError: a word that is no key=value, an unknown key, or a value that is not allowed.
    """
    state: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        key = f"slice_{name}"
        if not equals or key not in KEYS:
            known = ", ".join(each.removeprefix("slice_") for each in KEYS if each != "categories")
            raise ValueError(f"{word!r} is not key=value with one of: {known}.")
        if key == "slice_roles":
            state.setdefault(key, []).append(_one_of(value, ROLES))
        elif key == "slice_tags":
            state.setdefault(key, []).append(_number(word, key, value))
        elif key == "slice_by" and is_measure(value):
            state[key] = value
        elif key in ALLOWED:
            state[key] = _one_of(value, ALLOWED[key])
        elif key in NUMBERS:
            state[key] = _number(word, key, value)
        else:
            state[key] = value
    return state


def _one_of(value: str, allowed: Collection[str]) -> str:
    if value not in allowed:
        raise ValueError(f"{value!r} is none of: {', '.join(each for each in allowed if each)}.")
    return value


def _number(word: str, key: str, value: str) -> float | int:
    allowed = NUMBERS[key]
    number = allowed.parse(value)
    if number is None:
        kind = "whole number" if allowed.whole else "number"
        raise ValueError(f"{word!r}: give a {kind} from {allowed.low:,.0f} to {allowed.high:,.0f}.")
    return number


def saved(store: Path) -> dict[str, dict[str, Any]]:
    """The saved slices of a study: name -> value by key.

    Raises:
        ReviewError: the file cannot be read.
    """
    rows, _ = notebook.rows(store, "slice", "slices", {"name": str, "filters": str})
    return {row["name"][:LONGEST_NAME]: _known(row["filters"]) for row in rows[:MOST_SAVED]}


def _known(text: str) -> dict[str, Any]:
    """What a saved text says of the keys that this app knows; other people's files are not trusted."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(values, dict):
        return {}
    known = {k: values[k] for k, kind in KEYS.items() if isinstance(values.get(k), kind)}
    known = {
        k: v
        for k, v in known.items()
        if v in ALLOWED.get(k, [v]) or (k == "slice_by" and is_measure(v))
    }
    for key in ("slice_roles", "categories"):
        if key in known:
            texts = [each for each in known[key] if isinstance(each, str)]
            known[key] = [each for each in texts if key == "categories" or each in ROLES]
    if "slice_tags" in known:
        known["slice_tags"] = [each for each in known["slice_tags"] if _is_tag(each)]
    if "slice_text" in known:
        known["slice_text"] = known["slice_text"][:LONGEST_TEXT]
    checked = {
        k: NUMBERS[k].check(v) for k, v in known.items() if k in NUMBERS and k != "slice_tags"
    }
    return {k: checked.get(k, v) for k, v in known.items() if checked.get(k, v) is not None}


def _is_tag(value: Any) -> bool:
    return NUMBERS["slice_tags"].check(value) is not None and isinstance(value, int)


def parameters(asked: Mapping[str, Any], store: Path | Sequence[str]) -> dict[str, Any]:
    """The question with the prompts of its tags as `tagged`, as slice_prompts.sql takes them; None without tags.

    Args:
        asked: what `question` gives.
        store: the file of the study's reviews, or the prompt_key of each prompt that has one of the tags.

    Raises:
        ReviewError: the file cannot be read.
    """
    wanted = asked["tags"]
    keys = tags.tagged(store, wanted) if isinstance(store, Path) else list(store)
    return {**asked, "tagged": keys if wanted else None}


def save(store: Path, name: str, state: Mapping[str, Any]) -> str:
    """Save what the widgets hold under a name, in place of an older slice of that name; returns the name.

    Raises:
        ReviewError: the name is missing or too long, nothing is chosen, or it cannot be written.
    """
    shown = "".join(c for c in name if c.isprintable()).strip()
    if not 0 < len(shown) <= LONGEST_NAME:
        raise ReviewError(
            f"A slice's name has 1 to {LONGEST_NAME} signs; this has {len(shown)}. Give another."
        )
    kept = {key: state[key] for key in KEYS if not _is_unset(key, state.get(key))}
    if question(kept) is None and "categories" not in kept:
        raise ReviewError("All prompts are shown. Choose some of them before you save a slice.")
    values = {
        "name": shown,
        "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "filters": json.dumps(kept),
    }
    notebook.write(store, ("add_slice", values))
    return shown


def forget(store: Path, name: str) -> None:
    """Remove a saved slice.

    Raises:
        ReviewError: it cannot be written.
    """
    notebook.write(store, ("drop_slice", {"name": name}))
