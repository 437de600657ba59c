"""Streamlit's scripts come from memory as Streamlit sends them, and its page names those that it asks for late."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from app import preloads
from tests.bench_app import Server, served

FOLDER = preloads.STATIC / "static" / "js"


@pytest.fixture(scope="module")
def server(study_folder) -> Iterator[Server]:
    with served(study_folder("demo", models=3, prompts=8, seeds=2, steps=6)) as server:
        yield server


def fetched(server: Server, path: str) -> tuple[bytes, dict[str, str]]:
    with urllib.request.urlopen(f"{server.address}{path}", timeout=60) as answer:
        return answer.read(), {name.lower(): value for name, value in answer.headers.items()}


def test_a_chart_and_a_table_are_among_the_late_ones_and_the_main_script_is_not():
    late = preloads.scripts().late
    page = (preloads.STATIC / "index.html").read_text()
    for part in preloads.SHOWN:
        assert any(name.startswith(f"{part}.") for name in late), part
    assert not set(late) & set(re.findall(r"static/js/([\w.$-]+\.js)", page))
    assert set(late) < set(preloads.scripts().texts)


def test_what_cannot_be_read_is_left_out(tmp_path: Path):
    assert preloads.scripts(tmp_path) == preloads.Scripts((), {})


@pytest.mark.parametrize("path", ["/", "/timesteps"])
def test_the_page_names_the_late_scripts(server, path):
    page, headers = fetched(server, path)
    named = re.findall(rb'<link rel="modulepreload" href="\./static/js/([^"]+)">', page)
    assert set(preloads.scripts().late) <= {name.decode() for name in named}
    assert int(headers["content-length"]) == len(page)
    assert "content-security-policy" in headers


def test_a_script_from_memory_is_the_file_with_streamlits_headers(server):
    name = preloads.scripts().late[0]
    other = next(path.name for path in FOLDER.glob("*.js") if path.name not in preloads.scripts().texts)  # fmt: skip
    (text, headers), (_, streamlits) = (fetched(server, f"/static/js/{n}") for n in (name, other))
    assert text == (FOLDER / name).read_bytes()
    same = ("cache-control", "x-content-type-options", "content-security-policy")
    assert {key: headers[key] for key in same} == {key: streamlits[key] for key in same}
    assert headers["content-type"].partition(";")[0] == streamlits["content-type"].partition(";")[0]


def test_what_is_not_there_is_answered_by_streamlit(server):
    text, headers = fetched(server, "/static/js/none.js")
    assert b"<!DOCTYPE html>" in text
    assert headers["content-type"].startswith("text/html")
