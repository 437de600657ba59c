"""Foreign hosts and origins at a running server: page, health, files and websocket."""

from __future__ import annotations

import base64
import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app import hosts

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def port(results: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a server that was started as a user starts it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number = probe.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "log.txt"
    command = [sys.executable, "-m", "streamlit", "run", "app/main.py", "--server.port", str(number)]  # fmt: skip
    with log.open("w") as out:
        process = subprocess.Popen([*command, "--", str(results)], cwd=ROOT, stdout=out, stderr=out)
    try:
        for _ in range(600):
            if process.poll() is None and answers(number):
                break
            assert process.poll() is None, log.read_text()
            time.sleep(0.2)
        yield number
    finally:
        process.terminate()
        process.wait(300)


def answers(port: int) -> bool:
    try:
        return get(port, "/_stcore/health", {"Host": f"localhost:{port}"}).status == 200
    except OSError:
        return False


def get(port: int, path: str, headers: dict[str, str]) -> http.client.HTTPResponse:
    """One request with exactly these headers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    connection.putrequest("GET", path, skip_host=True, skip_accept_encoding=True)
    for key, value in headers.items():
        connection.putheader(key, value)
    connection.endheaders()
    answer = connection.getresponse()
    answer.body = answer.read() if answer.status != 101 else b""  # type: ignore[attr-defined]
    answer.close()
    connection.close()
    return answer


def handshake(port: int, **headers: str) -> int:
    """The status that a websocket's handshake is answered with; 101 = open."""
    key = base64.b64encode(os.urandom(16)).decode()
    headers_sent = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    headers_sent |= {"Sec-WebSocket-Key": key, "Sec-WebSocket-Protocol": "streamlit", **headers}
    return get(port, "/_stcore/stream", headers_sent).status


FOREIGN = ["evil.example", "evil.example:{port}", "localhost.evil.example", "10.0.0.1", "0.0.0.0:{port}", "", "localhost@evil.example", "localhost/evil", "[::2]", "localhost:port", "127.0.0.1.nip.io"]  # fmt: skip
OTHERS = ["http://evil.example", "null", "http://localhost:1", "http://localhost.evil.example:{port}", "file://", "localhost:{port}", "http://localhost:{port}@evil.example", "http://127.0.0.1:{port}"]  # fmt: skip


@pytest.mark.parametrize("host", FOREIGN)
def test_a_foreign_host_gets_nothing(port: int, host: str) -> None:
    host = host.format(port=port)
    for path in ("/", "/overview", "/_stcore/host-config", "/app/static/icon.svg"):
        answer = get(port, path, {"Host": host})
        assert answer.status == 400, path
        assert b"server.allowedHosts" in answer.body or b"Host" in answer.body  # type: ignore[attr-defined]
    assert handshake(port, Host=host) in (400, 403)
    assert handshake(port, Host=host, Origin=f"http://{host}") in (400, 403), "DNS rebinding"


@pytest.mark.parametrize("origin", OTHERS)
def test_a_foreign_origin_gets_no_websocket(port: int, origin: str) -> None:
    address, origin = f"localhost:{port}", origin.format(port=port)
    assert handshake(port, Host=address, Origin=origin) == 403
    assert get(port, "/_stcore/host-config", {"Host": address, "Origin": origin}).status == 403


def test_the_own_page_is_served_and_may_load_nothing_from_elsewhere(port: int) -> None:
    for host in (f"localhost:{port}", f"127.0.0.1:{port}", f"[::1]:{port}", f"LOCALHOST.:{port}"):
        answer = get(port, "/timesteps?step=3", {"Host": host})
        assert answer.status == 200 and b"<html" in answer.body  # type: ignore[attr-defined]
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'self'" in policy and "img-src 'self' data: blob:" in policy
        assert "frame-ancestors 'none'" in policy and answer.headers["X-Frame-Options"] == "DENY"
        assert "unsafe-eval'" not in policy.replace("wasm-unsafe-eval'", "")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    address = f"localhost:{port}"
    assert handshake(port, Host=address, Origin=f"http://{address}") == 101
    assert handshake(port, Host=address) == 101, "no browser: nothing to protect"
    assert get(port, "/_stcore/health", {"Host": "10.1.2.3"}).status == 200, "a balancer's question"


@pytest.mark.parametrize(
    ("host", "origin", "refused"),
    [
        ("stepscope.example.com", "https://stepscope.example.com", False),
        ("stepscope.example.com:443", "https://stepscope.example.com", False),
        ("stepscope.example.com", "http://stepscope.example.com:8080", True),
        ("a.team.example.com", None, False),
        ("team.example.com", None, True),
        ("team.example.com.evil.example", None, True),
        ("stepscope.example.com", "https://wiki.example.com", False),
        ("stepscope.example.com", "https://wiki.example.com.evil.example", True),
        (None, None, True),
    ],
)
def test_names_behind_a_proxy(host: str | None, origin: str | None, refused: bool) -> None:
    allowed, origins = ["stepscope.example.com", "*.team.example.com"], ["https://wiki.example.com"]
    assert bool(hosts.refusal(host, origin, allowed, origins)) == refused
