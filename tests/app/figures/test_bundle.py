"""The static site: whole, escaped, without network, from any state of a study."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import pytest

from app.figures import site
from app.figures.source import Choice, open_study

pytestmark = pytest.mark.long

ROOT = Path(__file__).resolve().parents[3]


def bundled(study: Path, out: Path) -> Path:
    return site.bundle(open_study(str(study), Choice()), out)


@pytest.fixture(scope="module")
def site_of(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """The site of a state of a study, made once."""

    @cache
    def make(state: str) -> Path:
        return bundled(request.getfixturevalue(state), tmp_path_factory.mktemp(state) / "site")

    return make


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
def test_every_link_of_the_site_is_inside_it(state: str, site_of: Callable[[str], Path]) -> None:
    out = site_of(state)
    pages = sorted(out.glob("*.html"))
    assert len(pages) == len(site.PAGES)
    for page in pages:
        reader = read(page)
        assert "Content-Security-Policy" in page.read_text()
        for link in reader.links:
            assert not re.match(r"[a-z]+:|//|/", link), link
            assert (out / link).is_file(), link
    assert not list(out.parent.glob(".site*"))


def test_a_full_site_has_charts_data_and_images(site_of: Callable[[str], Path]) -> None:
    out = site_of("results")
    assert (out / "concepts.html").read_text().count('type="application/json"') >= 7
    assert len(list((out / "data").glob("*.csv"))) >= 12
    assert len(list((out / "images").iterdir())) == 3 * 24
    assert "95 %" in " ".join(read(out / "concepts.html").words)


def test_hostile_texts_are_only_text(site_of: Callable[[str], Path]) -> None:
    out = site_of("hostile")
    for page in out.glob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert "<script>alert" not in text
        assert "<b>UNet" not in text
        reader = read(page)
        assert "b" not in reader.tags
    assert any("<script>alert('boo')" in word for word in read(out / "prompts.html").words)


def test_writing_again_replaces_a_site_but_nothing_else(nothing_yet: Path, tmp_path: Path) -> None:
    out = bundled(nothing_yet, tmp_path / "site")
    (out / "stale.txt").write_text("x")
    bundled(nothing_yet, out)
    assert not (out / "stale.txt").exists()
    other = tmp_path / "mine"
    other.mkdir()
    (other / "thesis.tex").write_text("x")
    with pytest.raises(site.BundleError, match="not empty"):
        bundled(nothing_yet, other)
    assert (other / "thesis.tex").read_text() == "x"


def test_a_site_of_another_scorer_says_so(
    two_scorers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = bundled(two_scorers, tmp_path / "first")
    second = tmp_path / "second"
    command = [str(two_scorers), "--out", str(second), "--scorer"]
    assert site.main([*command, "ViT-B-32-openai"]) == 0
    for page in second.glob("*.html"):
        assert "Scored by ViT-B-32-openai." in " ".join(read(page).words)
        assert "Scored by" not in " ".join(read(first / page.name).words)
    scores, spectra = "data/scores.csv", "data/spectra.csv"
    assert (second / scores).read_bytes() != (first / scores).read_bytes()
    assert (second / spectra).read_bytes() == (first / spectra).read_bytes(), "nobody scores them"
    capsys.readouterr()
    assert site.main([*command, "x"]) == 2
    assert "'x' is not in this study" in capsys.readouterr().err


def test_the_shell(nothing_yet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [sys.executable, "-m", "app.figures.site", str(nothing_yet), "--out", str(tmp_path / "site")]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "index.html" in done.stdout
    assert site.main([str(tmp_path / "no"), "--out", str(tmp_path / "x")]) == 2
    assert "nothing at this path" in capsys.readouterr().err
