"""Who is at the page: the login's name where there is a login, else what the reader writes."""

from __future__ import annotations

import streamlit as st
from streamlit import config

from app.analysis import reviews

_NAME = "_reader"  # among the session's values: the name that was written last


def signed_name() -> str:
    """The reader's name and address by the login, or by the proxy's headers; '' where there is neither."""
    if not (st.user.get("is_logged_in", False) or config.get_option("server.trustedUserHeaders")):
        return ""
    known = [st.user.get(key) for key in ("name", "email")]
    name, address = (each.strip() if isinstance(each, str) else "" for each in known)
    shown = f"{name} ({address})" if name and address else name or address
    shown = shown or str(st.user.get("sub") or "")
    return shown[: reviews.LONGEST["author"]]


def author(key: str) -> str:
    """The author of what is written here: nobody who is logged in writes under another name.

    Args:
        key: of the field, where a name has to be asked for.
    """
    if name := signed_name():
        st.text(f"Signed as {name}")
        return name
    written = st.session_state.get(_NAME, "")
    if written and key not in st.session_state:
        st.session_state[key] = written
    name = str(st.text_input("Your name", key=key, max_chars=reviews.LONGEST["author"]) or "")
    st.session_state[_NAME] = name or written
    return name
