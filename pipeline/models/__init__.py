"""Models and scorers: their files, loading, devices, families."""
