"""HTML by Jinja2: templates are files of app/figures/templates, and every value in them is escaped."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import jinja2

TEMPLATES = Path(__file__).parent / "templates"


def rendered(template: str, **values: Any) -> str:
    """The template with its values, each escaped; a value that is missing is an error.

    Args:
        template: a file of app/figures/templates.
        values: what it names.
    """
    return _environment().get_template(template).render(**values)


def asset(name: str) -> str:
    """A script or style sheet of app/figures/templates."""
    return (TEMPLATES / name).read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"default": str}
    return environment
