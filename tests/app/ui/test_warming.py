"""The first page is drawn before the server answers, and nothing that goes wrong with it stops the server."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import closing
from pathlib import Path

import pytest
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.runtime.runtime import RuntimeStoppedError

from app import warming
from tests.bench_app import served
from tests.support.browser import wait
from tests.support.visitor import Visitor

pytestmark = pytest.mark.long


class Sessions:
    """What `draw` needs of a runtime: it answers with an end of the script, or not at all, or refuses."""

    def __init__(self, answers: bool = True, refuses: str = "") -> None:
        self.answers, self.refuses = answers, refuses
        self.users: list[dict[str, object]] = []
        self.closed: list[str] = []

    def connect_session(self, client: object, user_info: dict[str, object]) -> str:
        if self.refuses == "session":
            raise RuntimeStoppedError
        self.users.append(user_info)
        return "session"

    def handle_backmsg(self, session: str, message: object, *, client: warming.Nobody) -> None:
        if self.refuses == "message":
            raise OSError("no such study")
        if self.answers:
            client.write_forward_msg(ForwardMsg(script_finished=ForwardMsg.FINISHED_SUCCESSFULLY))

    def close_session(self, session: str) -> None:
        self.closed.append(session)


def test_the_session_of_the_first_page_has_no_user_and_ends_with_it():
    sessions = Sessions()
    asyncio.run(warming.draw(sessions))
    assert (sessions.users, sessions.closed) == ([{}], ["session"])
    assert warming.Nobody().client_context is None


@pytest.mark.parametrize("refuses", ["session", "message"])
def test_a_failure_is_noted_and_not_raised(refuses, caplog):
    asyncio.run(warming.draw(Sessions(refuses=refuses)))
    assert "not drawn ahead" in caplog.text


def test_the_server_answers_while_a_page_is_still_being_drawn(monkeypatch):
    sessions = Sessions(answers=False)
    monkeypatch.setattr(warming, "PATIENCE", 0.01)
    monkeypatch.setattr(warming, "get_instance", lambda: sessions)

    async def live() -> None:
        async with warming.first_page(None):
            assert not sessions.closed

    asyncio.run(live())
    assert sessions.closed == ["session"]


def test_a_page_that_never_ends_is_left(monkeypatch, caplog):
    sessions = Sessions(answers=False)
    monkeypatch.setattr(warming, "LONGEST", 0.01)
    asyncio.run(warming.draw(sessions))
    assert sessions.closed == ["session"]
    assert "TimeoutError" in caplog.text


def test_connections_send_at_once():
    with closing(socket.socket(socket.AF_INET)) as listening, closing(socket.socket()) as idle:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        warming.send_at_once()
        with closing(socket.create_connection(listening.getsockname())):
            accepted, _ = listening.accept()
            with closing(accepted):
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert not idle.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_fresh_server_has_drawn_its_first_page(study_folder):
    folder = study_folder("demo", models=3, prompts=8, seeds=2, steps=6)
    with served(folder) as server:
        visitor = Visitor(server.address)
        visitor.open("overview")
        visitor.leave()
        runs = [run["whole"] for run in server.reruns() if run["view"] == "overview"]
        assert runs == [True] * 2


def test_a_page_whose_tests_take_long_is_drawn_later(study_folder):
    folder = study_folder("demo", models=3, prompts=8, seeds=2, steps=6)
    with served(folder) as server:
        wait(lambda: [run["view"] for run in server.reruns()] == ["overview", *warming.OTHERS])
        assert all(run["whole"] for run in server.reruns())


@pytest.mark.parametrize("content", [None, "{", '{"snapshot": "snapshots/gone.duckdb"}'])
def test_a_study_that_cannot_be_read_stops_no_server(tmp_path: Path, content: str | None):
    folder = tmp_path / "study"
    if content is not None:
        folder.mkdir()
        (folder / "current.json").write_text(content)
    with served(folder) as server:
        visitor = Visitor(server.address)
        visitor.open("overview")
        visitor.leave()
        assert json.dumps(server.reruns()).count("overview") == 2
