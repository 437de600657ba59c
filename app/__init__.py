"""The dashboard and the figures of published snapshots."""
