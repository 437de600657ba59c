"""What a study says of itself that was shipped with Stepscope. No Streamlit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from app.database import snapshots


def record(environment: str) -> dict[str, Any]:
    """What `python -m pipeline compact` noted in a snapshot's `environment`; empty for any other study."""
    try:
        noted = json.loads(environment)["shipped"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return noted if isinstance(noted, dict) else {}


def sentence(environment: str) -> str:
    """Where a shipped study comes from and what it has not, in words; empty for any other study."""
    noted = record(environment)
    if not noted:
        return ""
    fields = {key: str(noted.get(key, "?"))[:200] for key in ("made_on", "machine", "command")}
    return (
        f"Shipped with Stepscope: made on {fields['made_on']} on {fields['machine']}, by `{fields['command']}`. {left_out(environment)}"
    ).strip()


def left_out(environment: str) -> str:
    """What a shipped study has not; empty for any other study."""
    prompts = pictured(environment)
    if prompts is None:
        return ""
    parts = [f"Not shipped: frames and maps of prompts after the first {prompts}, and the shards."]
    decimals, quality = (
        record(environment).get("decimals_of_curves"),
        record(environment).get("quality_of_images"),
    )
    noted = record(environment)
    if named_only(environment):
        parts.append(
            f"Of concepts that a prompt does not name, the similarities of the first {noted['prompts_with_unnamed']} prompts are shipped, so that "
            "concepts count in the prompts that name them."
        )
    if isinstance(spectra := noted.get("prompts_with_spectra"), int):
        parts.append(f"Power spectra are those of the first {spectra} prompts.")
    if isinstance(decimals, int):
        parts.append(f"Similarities per step are rounded to {decimals} decimals.")
    if isinstance(quality, int):
        parts.append(f"Their final images are WebP of quality {quality}.")
    return " ".join(parts)


def named_only(environment: str) -> bool:
    """Whether a shipped study has the similarities of concepts that a prompt does not name of some prompts only."""
    return isinstance(record(environment).get("prompts_with_unnamed"), int)


def pictured(environment: str) -> int | None:
    """How many of the first prompts have frames and maps; None = it is not known, or all."""
    prompts = record(environment).get("prompts_with_pictures")
    return prompts if isinstance(prompts, int) else None


def name_of(path: Path) -> str:
    """What a results folder or a database file is called where readers choose one."""
    if path.is_dir() and path.resolve() == snapshots.SHIPPED:
        return f"{path.name} (shipped)"
    return path.stem if path.suffix else path.name
