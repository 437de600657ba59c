"""The dashboard behind Debian's nginx, under a base path, as docs/sharing.md sets it up."""

from __future__ import annotations

import asyncio
import os
import shutil
import string
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import websockets
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from tests.support.browser import ROOT, free_port, healthy, wait

NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not NGINX, reason="needs nginx (Debian: apt-get install nginx-light)"),
]
MAIN = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    include {folder}/stepscope.conf;
}}
"""


@contextmanager
def process(command: list[str], log: Path) -> Iterator[None]:
    with log.open("w") as out:
        child = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT)
    try:
        yield
    finally:
        child.terminate()
        child.wait(300)


@pytest.fixture(scope="module")
def proxy(results: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Host and port of nginx, with the app behind it."""
    folder = tmp_path_factory.mktemp("nginx")
    app, listen = free_port(), free_port()
    filled = {"LISTEN": f"127.0.0.1:{listen}", "APP": f"127.0.0.1:{app}", "BASE": "stepscope"}
    text = (ROOT / "deploy" / "nginx.conf.template").read_text()
    (folder / "stepscope.conf").write_text(string.Template(text).safe_substitute(filled))
    (folder / "nginx.conf").write_text(MAIN.format(folder=folder))
    serve = [sys.executable, "-m", "stepscope", "app", str(results), "--address", "127.0.0.1"]
    serve += ["--port", str(app), "--base-path", "stepscope"]
    with ExitStack() as stack:
        stack.enter_context(process(serve, folder / "app.log"))
        wait(lambda: healthy(f"http://127.0.0.1:{app}/stepscope"), (folder / "app.log").read_text)
        command = [str(NGINX), "-p", str(folder), "-c", str(folder / "nginx.conf")]
        stack.enter_context(process(command, folder / "nginx.log"))
        address = f"127.0.0.1:{listen}"
        wait(lambda: healthy(f"http://{address}/stepscope"), (folder / "nginx.log").read_text)
        yield address


def test_pages_and_fonts_are_under_the_base_path(proxy: str) -> None:
    with urllib.request.urlopen(f"http://{proxy}/") as answer:  # led to the base path
        assert answer.url == f"http://{proxy}/stepscope/" and b"<title>" in answer.read()
        assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    font = "app/static/fonts/inter-latin-wght-normal.woff2"
    with urllib.request.urlopen(f"http://{proxy}/stepscope/{font}") as answer:
        assert answer.read() == (ROOT / font).read_bytes()
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"http://{proxy}/elsewhere/")


def test_a_foreign_host_is_refused_behind_it_too(proxy: str) -> None:
    request = urllib.request.Request(f"http://{proxy}/stepscope/", headers={"Host": "evil.example"})
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(request)


async def said(proxy: str, origin: str) -> list[ForwardMsg]:
    """What the server sends over the websocket until the page is drawn."""
    address = f"ws://{proxy}/stepscope/_stcore/stream"
    protocols = [websockets.Subprotocol("streamlit")]
    messages = []
    async with websockets.connect(
        address, origin=websockets.Origin(origin), subprotocols=protocols, max_size=None
    ) as socket:
        rerun = BackMsg()
        rerun.rerun_script.query_string = ""
        await socket.send(rerun.SerializeToString())
        while True:
            message = ForwardMsg.FromString(await asyncio.wait_for(socket.recv(), 300))
            messages.append(message)
            if message.WhichOneof("type") == "script_finished":
                return messages


def test_a_page_is_drawn_over_the_websocket(proxy: str) -> None:
    messages = asyncio.run(said(proxy, f"http://{proxy}"))
    assert b"CLIP score" in b"".join(m.SerializeToString() for m in messages), "the Overview"
    assert not any(m.delta.new_element.HasField("exception") for m in messages)


def test_a_page_of_another_site_gets_no_websocket(proxy: str) -> None:
    with pytest.raises(websockets.InvalidStatus, match="403"):
        asyncio.run(said(proxy, "http://evil.example"))
