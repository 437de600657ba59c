"""The static site: whole, escaped, without network, from any state of a study."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import bundle
import pytest
from figure_study import Choice, open_study

ROOT = Path(__file__).resolve().parent.parent


def made(place: Path, out: Path) -> Path:
    return bundle.bundle(open_study(str(place), Choice()), out)


class Reader(HTMLParser):
    """Collects links, sources and text of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for name, value in attrs if name in {"href", "src"}]
        assert not any(name.startswith("on") for name, _ in attrs)

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def read(path: Path) -> Reader:
    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    return reader


@pytest.mark.parametrize("state", ["results", "one_model", "failed_only", "nothing_yet", "hostile"])
def test_every_link_of_the_site_is_inside_it(
    state: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    out = made(request.getfixturevalue(state), tmp_path / "site")
    pages = sorted(out.glob("*.html"))
    assert len(pages) == len(bundle.PAGES)
    for page in pages:
        reader = read(page)
        assert "Content-Security-Policy" in page.read_text()
        for link in reader.links:
            assert not re.match(r"[a-z]+:|//|/", link), link
            assert (out / link).is_file(), link
    assert not list(tmp_path.glob(".site*"))


def test_a_full_site_has_charts_data_and_images(results: Path, tmp_path: Path) -> None:
    out = made(results, tmp_path / "site")
    assert (out / "concepts.html").read_text().count('type="application/json"') >= 7
    assert len(list((out / "data").glob("*.csv"))) >= 12
    assert len(list((out / "images").iterdir())) == 3 * 24
    assert "95 %" in " ".join(read(out / "concepts.html").words)


def test_hostile_texts_are_only_text(hostile: Path, tmp_path: Path) -> None:
    out = made(hostile, tmp_path / "site")
    for page in out.glob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert "<script>alert" not in text
        assert "<b>UNet" not in text
        reader = read(page)
        assert "b" not in reader.tags
    assert any("<script>alert('boo')" in word for word in read(out / "prompts.html").words)


def test_writing_again_replaces_a_site_but_nothing_else(results: Path, tmp_path: Path) -> None:
    out = made(results, tmp_path / "site")
    (out / "stale.txt").write_text("x")
    made(results, out)
    assert not (out / "stale.txt").exists()
    other = tmp_path / "mine"
    other.mkdir()
    (other / "thesis.tex").write_text("x")
    with pytest.raises(bundle.BundleError, match="not empty"):
        made(results, other)
    assert (other / "thesis.tex").read_text() == "x"


def test_a_site_of_another_scorer_says_so(two_scorers: Path, tmp_path: Path) -> None:
    first = made(two_scorers, tmp_path / "first")
    command = [sys.executable, "app/bundle.py", str(two_scorers), "--out", str(tmp_path / "second")]
    command += ["--scorer", "ViT-B-32-openai"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    second = tmp_path / "second"
    for page in second.glob("*.html"):
        assert "Scored by ViT-B-32-openai." in " ".join(read(page).words)
        assert "Scored by" not in " ".join(read(first / page.name).words)
    scores, spectra = "data/scores.csv", "data/spectra.csv"
    assert (second / scores).read_bytes() != (first / scores).read_bytes()
    assert (second / spectra).read_bytes() == (first / spectra).read_bytes(), "nobody scores them"
    wrong = subprocess.run([*command[:-1], "x"], cwd=ROOT, capture_output=True, text=True)
    assert wrong.returncode == 2 and "'x' is not in this study" in wrong.stderr


def test_the_shell(results: Path, tmp_path: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "app/bundle.py", *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    done = run(str(results), "--out", str(tmp_path / "site"))
    assert done.returncode == 0, done.stderr
    assert "index.html" in done.stdout
    wrong = run(str(tmp_path / "no"), "--out", str(tmp_path / "x"))
    assert wrong.returncode == 2
    assert "nothing at this path" in wrong.stderr
    assert "Traceback" not in wrong.stderr
