"""The frame of every page, as `app/main.py` draws it: the link is cleaned, then the study, filters and step control."""

import sys

import streamlit as st

from app.ui import links, queries
from app.ui.page import set_up

links.clean()
queries.arrive("timesteps")
st.title("Frame")
set_up(sys.argv[1:], scrubber=True)
