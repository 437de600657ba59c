"""Figures for papers, exports and the static site."""
