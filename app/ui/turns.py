"""Pages are drawn a few at a time: whoever waits is served in order, and nobody waits long for a page that takes long.

Python runs one thread at a time. Thirty pages that are drawn side by side all come late, and each time one of them waits
for the database, a lock or the network, it stands in line for 5 ms behind every other. One after the other, each is
complete as soon as it can be, and the last one no later.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition

AT_ONCE = 2
LONGEST = 1.0  # seconds after which a page no longer keeps others waiting


class Turns:
    """Who draws, and who waits for a turn.

    Args:
        at_once: pages drawn side by side.
        longest: seconds after which a page that is still being drawn is not counted any more.
    """

    def __init__(self, at_once: int = AT_ONCE, longest: float = LONGEST) -> None:
        self.at_once = at_once
        self.longest = longest
        self._changed = Condition()
        self._waiting: deque[object] = deque()
        self._since: dict[object, float] = {}

    @contextmanager
    def turn(self) -> Iterator[None]:
        """A block that runs once it is its turn."""
        reader = object()
        with self._changed:
            self._waiting.append(reader)
            try:
                while self._waiting[0] is not reader or (rest := self._rest()) > 0:
                    self._changed.wait(None if self._waiting[0] is not reader else rest)
            finally:
                self._waiting.remove(reader)
                self._changed.notify_all()
            self._since[reader] = time.monotonic()
        try:
            yield
        finally:
            with self._changed:
                self._since.pop(reader, None)
                self._changed.notify_all()

    def _rest(self) -> float:
        """Seconds until the first in line may draw at the latest; 0 or less where it may now."""
        ends = sorted(since + self.longest for since in self._since.values())
        rest = [end - time.monotonic() for end in ends]
        rest = [each for each in rest if each > 0]
        return rest[-self.at_once] if len(rest) >= self.at_once else 0.0


TURNS = Turns()
