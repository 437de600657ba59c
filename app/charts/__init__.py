"""Data frames to Altair charts; no Streamlit, no SQL."""
