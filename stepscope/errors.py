"""What goes wrong, in one line."""

from __future__ import annotations


class StudyError(Exception):
    """What is wrong, which value, what is allowed and what to do next: one line, with no traceback of the inside."""
