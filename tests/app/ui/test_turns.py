"""Pages take turns: so many at once, in order, and none waits long for one that takes long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from app.ui.turns import Turns

PATIENCE = 60.0


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


def reader(turns: Turns, number: int, drawn: list[int], leave: threading.Event) -> threading.Thread:
    def draw() -> None:
        with turns.turn():
            drawn.append(number)
            assert leave.wait(PATIENCE)

    thread = threading.Thread(target=draw)
    thread.start()
    return thread


def waiting(turns: Turns) -> int:
    return len(turns._waiting)


@pytest.mark.parametrize("at_once", [1, 2])
def test_so_many_draw_at_once_and_the_others_in_the_order_in_which_they_came(at_once):
    turns, drawn = Turns(at_once, longest=PATIENCE), []
    leave = [threading.Event() for _ in range(5)]
    threads = []
    for number, event in enumerate(leave):
        threads.append(reader(turns, number, drawn, event))
        until(lambda n=number: len(drawn) + waiting(turns) == n + 1)
    for number, event in enumerate(leave):
        until(lambda n=number: len(drawn) == min(n + at_once, 5))
        event.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert drawn == [0, 1, 2, 3, 4]
    assert not turns._waiting
    assert not turns._since


def test_a_page_that_takes_long_keeps_nobody_waiting_for_longer():
    turns, drawn, leave = Turns(1, longest=0.05), [], threading.Event()
    threads = [reader(turns, number, drawn, leave) for number in range(4)]
    until(lambda: sorted(drawn) == [0, 1, 2, 3])
    leave.set()
    for thread in threads:
        thread.join(PATIENCE)


def test_a_page_that_fails_gives_its_turn_back():
    turns = Turns(1, longest=PATIENCE)
    with pytest.raises(ValueError, match="this page"), turns.turn():
        raise ValueError("this page")
    with turns.turn():
        assert len(turns._since) == 1
