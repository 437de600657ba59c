"""The component that moves the step in the browser: the step bar, and pictures that follow it.

Its scripts are files of app/static/steps, which the server itself gives out: the dashboard's content security policy
runs no script from a text. Streamlit serves a component's files if a manifest names their folder; it looks for manifests
in installed packages only, so that of a clone is told to it here.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import streamlit as st
from streamlit.components.v2.get_bidi_component_manager import get_bidi_component_manager
from streamlit.components.v2.manifest_scanner import ComponentConfig, ComponentManifest

APP = Path(__file__).resolve().parents[1]
MANIFEST = ComponentManifest("stepscope", "1", [ComponentConfig("steps", "static/steps")])
NAME = "stepscope.steps"
_registering = threading.Lock()


def style() -> None:
    """The style sheet alone, which also fixes controls of Streamlit's own on every page."""
    mount("style", "page_style")


def mount(data: bytes | str | Mapping[str, Any], key: str, **callbacks: Any) -> Mapping[str, Any]:
    """The component at this place of the page.

    Args:
        data: packed pictures, what the step bar has to know, or "style" for nothing to see.
        key: unique on the page.
        callbacks: functions without arguments as `on_<trigger>_change`.

    Returns: what each trigger has just told, or None.
    """
    with _registering:
        if get_bidi_component_manager().get_component_asset_root(NAME) is None:
            get_bidi_component_manager().register_from_manifest(MANIFEST, APP)
        # Each time: a server that a test starts in this process does not know the component of the one before.
        component = st.components.v2.component(
            NAME, css="main.css", js="main.js", isolate_styles=False
        )
    return cast(Mapping[str, Any], component(data=data, key=key, **callbacks))
