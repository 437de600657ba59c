"""What the app's functions raise, as errors of one line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from app.database.snapshots import SnapshotError
from app.figures.source import FigureError, NotMeasured
from stepscope.errors import StudyError


@contextmanager
def one_line() -> Iterator[None]:
    """Turns what the app's functions raise into a `StudyError` of one line, without the options' dashes."""
    try:
        yield
    except SnapshotError as error:
        advice = f" Try: {error.advice[0]}" if error.advice else ""
        raise StudyError(f"{error.title} {error.detail}{advice}") from None
    except FigureError as error:
        text = " ".join(str(error).split())
        raise StudyError(re.sub(r"(?<!\S)--([a-z]+)\b", r"\1", text)) from None


def check(value: object, name: str, allowed: Sequence[object]) -> None:
    """Refuse a value that is none of those allowed. Raises StudyError, which names them."""
    if value not in allowed:
        known = ", ".join(str(each) for each in allowed)
        raise StudyError(f"{name}: {value!r} is not one of: {known}.")


def unmeasured(error: NotMeasured) -> StudyError:
    """What is missing and how to record it, in one line."""
    return StudyError(" ".join(str(error).split()))
