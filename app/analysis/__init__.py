"""Data frames to data frames: every number that is shown as a result."""
