"""Which studies a reader may open: by the groups that the login's claims name (docs/sharing.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from app.database.snapshots import SnapshotError

TABLE = "access"
EVERY = "*"


def rules() -> Mapping[str, Any] | None:
    """The table `[access]` of secrets.toml; None where it is not set, and every reader sees every study."""
    if not st.secrets.load_if_toml_exists() or TABLE not in st.secrets:
        return None
    table = st.secrets[TABLE]
    return table if isinstance(table, Mapping) else {}


def groups_of(claims: Mapping[str, Any], claim: str) -> frozenset[str]:
    """The groups that a claim lists.

    Args:
        claims: of the login.
        claim: its name, or the way to it in nested claims: `realm_access.roles`.
    """
    value: Any = claims.get(claim)
    if value is None:
        value = claims
        for key in claim.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
    if isinstance(value, str):  # as a proxy's header lists them
        value = [each.strip() for each in value.split(",")]
    if not isinstance(value, list | tuple):
        return frozenset()
    return frozenset(each for each in value if isinstance(each, str) and each)


def admitted(studies: Any, name: str) -> frozenset[str]:
    """The groups that may open a study by the table `[access.studies]`; none where it is not in it."""
    table = studies if isinstance(studies, Mapping) else {}
    lists = [table.get(key) for key in (name, EVERY)]
    return frozenset(
        group for each in lists if isinstance(each, list | tuple) for group in each if group
    )


def study_name(path: Path) -> str:
    """What a study is called in `[access.studies]`: the name of its folder, or of its file without the ending."""
    name = path.absolute().name
    return name.removesuffix(".duckdb")


def readable(paths: Sequence[Path]) -> tuple[Path, ...]:
    """The studies that this reader may open.

    Raises:
        SnapshotError: there are none.
    """
    table = rules()
    if table is None:
        return tuple(paths)
    claim = str(table.get("claim", "groups"))
    claims = {str(key): st.user.get(key) for key in st.user}
    groups = groups_of(claims, claim)
    allowed = tuple(p for p in paths if groups & admitted(table.get("studies"), study_name(p)))
    if not allowed:
        raise SnapshotError(
            "No study here is open to you.",
            f"Access goes by groups, and none of your login's groups ({len(groups)} in the claim {claim!r}) may open "
            "one.",
            ("Ask whoever runs this dashboard.",),
        )
    return allowed
