"""The wheel in environments of its own, as a user installs it: the app's part without torch, and the part that runs studies.

The app's part is installed by the steps of the Dockerfile, and served as its image serves it. `make try-install`;
installing takes the network, what is installed does not.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import dockerfile
from tests.support.browser import MARKS, ROOT, Reader, chrome, healthy, wait

PIP = ("install", "-qq", "--disable-pip-version-check")
STAGES = dockerfile.stages((ROOT / "Dockerfile").read_text())
IMAGE = STAGES["app"]
BASE_IMAGE = 150  # MB of python:3.11-slim, unpacked, as docs/sharing.md cites it
LARGEST_IMAGE = 1000  # MB


@dataclass(frozen=True)
class Installation:
    """A virtual environment with the wheel in it.

    Attributes:
        folder: of the environment.
        size: in MB, as it was installed.
    """

    folder: Path
    size: float = 0.0

    def command(self, name: str = "stepscope") -> str:
        return str(self.folder / "bin" / name)

    def run(self, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.command(), *arguments], cwd=cwd, env=environment(), capture_output=True, text=True, timeout=600
        )  # fmt: skip

    def python(self, code: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.command("python"), "-c", code, *arguments],
            cwd=cwd, env=environment(), capture_output=True, text=True, timeout=600,
        )  # fmt: skip

    def install(self, *arguments: str) -> None:
        subprocess.run([self.command("python"), "-m", "pip", *PIP, *arguments], check=True)


def environment() -> dict[str, str]:
    """The environment without what leads back to the clone."""
    kept = {
        k: v
        for k, v in os.environ.items()
        if not k.startswith(("PYTHON", "STREAMLIT", "STEPSCOPE"))
    }
    return kept | {"HF_HUB_OFFLINE": "1"}


def megabytes(folder: Path) -> float:
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir()) / 1e6


@contextmanager
def measured(name: str, folder: Path) -> Iterator[None]:
    """Prints how long a step took and how large the environment is then."""
    start = time.monotonic()
    yield
    print(f"\n{name}: {time.monotonic() - start:.0f} s, {megabytes(folder):,.0f} MB")


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stages of the Dockerfile that make the dashboard's image, each a folder."""
    folder = tmp_path_factory.mktemp("images")
    for name, what in (("wheel", "the wheel"), ("app-packages", "the app's part")):
        with measured(what, folder / name):
            dockerfile.build(ROOT, STAGES[name], folder)
    return folder


@pytest.fixture(scope="session")
def wheel(images: Path) -> Path:
    (file,) = (images / "wheel" / "dist").glob("*.whl")
    return file


@pytest.fixture(scope="session")
def light(images: Path) -> Installation:
    """The app's part by its lock file; the wheel then finds all that it asks for."""
    folder = images / "app-packages" / "opt" / "stepscope"
    return Installation(folder, megabytes(folder))


@pytest.fixture(scope="session")
def full(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """The wheel beside the packages that are installed for the clone: torch is large."""
    folder = tmp_path_factory.mktemp("full") / "venv"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    installation = Installation(folder)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "shared.pth").write_text(sysconfig.get_path("purelib"))
    installation.install("--no-deps", "--no-index", str(wheel))
    return installation


def test_the_apps_part_has_no_torch_and_no_module_of_the_clone(
    light: Installation, tmp_path: Path
) -> None:
    code = "from importlib.util import find_spec as f; print(*(f(n) for n in ('torch', 'app', 'pipeline')))"
    assert light.python(code, cwd=tmp_path).stdout.split() == ["None"] * 3
    done = light.run("run", "data/studies/small.toml", cwd=tmp_path)
    assert done.returncode == 2 and "pip install 'stepscope[run]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_image_is_under_a_gigabyte(light: Installation) -> None:
    print(f"\nthe app's image: {light.size:,.0f} MB and {BASE_IMAGE} MB of {STAGES['wheel'].base}")
    assert 100 < light.size < LARGEST_IMAGE - BASE_IMAGE
    (packages,) = light.folder.glob("lib/python*/site-packages")
    assert not (packages / "pip").exists() and not (packages / "pandas" / "tests").exists()


def test_the_python_api_opens_a_study(light: Installation, results: Path, tmp_path: Path) -> None:
    code = "import sys, stepscope; s = stepscope.open(sys.argv[1]); print(len(s.models), 'torch' in sys.modules)"
    done = light.python(code, str(results), cwd=tmp_path)
    assert done.stdout.split() == ["3", "False"], done.stderr


def test_figures_are_the_same_as_in_the_clone(
    light: Installation, results: Path, tmp_path: Path
) -> None:
    arguments = ["figures", str(results), "--figure", "concept-curves", "--out"]
    assert light.run(*arguments, "installed", cwd=tmp_path).returncode == 0
    clone = [sys.executable, "-m", "app.figures", *arguments[1:], str(tmp_path / "clone")]
    subprocess.run(clone, cwd=ROOT, check=True, capture_output=True)
    for ending in ("csv", "svg"):
        ours, theirs = (
            tmp_path / each / f"concept-curves.{ending}" for each in ("installed", "clone")
        )
        assert ours.read_bytes() == theirs.read_bytes()
    manifest = json.loads((tmp_path / "installed" / "concept-curves.manifest.json").read_text())
    assert manifest["command"].startswith(f"stepscope figures {results} --figure concept-curves")


@contextmanager
def served(
    installation: Installation, results: Path, cwd: Path, **settings: str
) -> Iterator[tuple[str, int]]:
    """The address of the dashboard and its port, while it runs as the image runs it: its ENTRYPOINT and ENV."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    _, *entry = IMAGE.command("ENTRYPOINT")
    entry = [str(port) if word == IMAGE.last("EXPOSE") else word for word in entry]
    options = STAGES["base"].environment() | IMAGE.environment() | settings
    options.pop("PATH")
    log = cwd / "log.txt"
    with log.open("w") as out:
        process = subprocess.Popen(
            [installation.command(), *entry, str(results)],
            cwd=cwd, env=environment() | options, stdout=out, stderr=subprocess.STDOUT,
        )  # fmt: skip
    base = options["STREAMLIT_SERVER_BASE_URL_PATH"]
    address = f"http://localhost:{port}" + (f"/{base}" if base else "")
    try:
        wait(lambda: healthy(address), log.read_text)
        yield address, port
    finally:
        process.terminate()
        process.wait(60)


def private(folder: Path) -> dict[str, str]:
    """Folders for what the image writes."""
    for name in ("home", "reviews"):
        (folder / name).mkdir()
    return {"HOME": str(folder / "home"), "STEPSCOPE_REVIEWS": str(folder / "reviews")}


def is_healthy(installation: Installation, port: int, base: str) -> bool:
    """Whether the image's own check says so."""
    _, *check = IMAGE.command("HEALTHCHECK")
    check = [word.replace(f":{IMAGE.last('EXPOSE')}", f":{port}") for word in check]
    env = environment() | {"STREAMLIT_SERVER_BASE_URL_PATH": base}
    done = subprocess.run(
        [installation.command("python"), *check], env=env, capture_output=True, timeout=60
    )
    return done.returncode == 0


def test_the_settings_are_the_clones(light: Installation, results: Path, tmp_path: Path) -> None:
    """Under a base path, as compose.yaml gives it."""
    settings = private(tmp_path) | {"STREAMLIT_SERVER_BASE_URL_PATH": "stepscope"}
    with served(light, results, tmp_path, **settings) as (address, port):
        font = f"{address}/app/static/fonts/inter-latin-wght-normal.woff2"
        with urllib.request.urlopen(font) as answer:
            assert (
                answer.read()
                == (ROOT / "app/static/fonts/inter-latin-wght-normal.woff2").read_bytes()
            )
        foreign = urllib.request.Request(f"{address}/", headers={"Host": "rebound.example.com"})
        with pytest.raises(urllib.error.HTTPError, match="400"):
            urllib.request.urlopen(foreign)
        assert is_healthy(light, port, "stepscope") and not is_healthy(light, port, "elsewhere")
    assert not is_healthy(light, port, "stepscope"), "it has ended"


def files_in(*folders: Path) -> set[Path]:
    return {path for folder in folders for path in folder.rglob("*")}


class TestInABrowser:
    pytestmark = MARKS

    def test_pages_are_drawn_and_nothing_is_written_but_to_the_home(
        self, light: Installation, results: Path, tmp_path: Path
    ) -> None:
        """The image's root and the studies may be read-only."""
        work = tmp_path / "work"
        work.mkdir()
        (work / "log.txt").touch()
        before = files_in(light.folder, results, work)
        with served(light, results, work, **private(tmp_path)) as (address, port):
            driver = chrome(1280, 900, dark=False, profile=tmp_path / "profile")
            try:
                reader = Reader(driver, address, tmp_path / "shots")
                for page in ("/overview", "/timesteps", "/measures"):
                    reader.open(page)
                    assert reader.title().lower() in page or page == "/overview"
                    assert len(reader.text()) > 300
            finally:
                driver.quit()
            assert is_healthy(light, port, "")
        assert files_in(light.folder, results, work) == before


@pytest.fixture(scope="module")
def study(full: Installation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with maps of two bundled models, run by an installation."""
    folder = tmp_path_factory.mktemp("study")
    text = (ROOT / "data" / "studies" / "small.toml").read_text()
    measures = (
        'df-cam = { steps = [3] }\nattention = { steps = "all", maps = true, map_steps = [3] }'
    )
    text = text.replace("embeddings = true", f"embeddings = true\n{measures}")
    (folder / "mine.toml").write_text(text.replace('"small"', '"mine"'))
    with measured("a study of two prompts with maps", folder):
        done = full.run("run", "mine.toml", "--limit", "2", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "data" / "results" / "mine"


# What a notebook asks: every table, the bytes of images and maps, SQL, a chart, and the files of a figure.
ASK = """
import hashlib, json, sys
import stepscope

def digest(data):
    return hashlib.sha256(data).hexdigest()

def table(frame):
    return digest(frame.to_json(double_precision=15).encode()), list(frame.columns), len(frame)

with stepscope.open(sys.argv[1]) as study:
    images, maps = study.images(), study.maps(methods="df-cam")
    words = study.maps(words=True)
    print(json.dumps({
        "tables": [table(each) for each in (study.models, study.prompts, study.concepts, study.scores(),
            study.curves("cat", pairs="all"), study.compare("UNet", "Transformer", pairs="all"), images.table, maps.table, words.table)],
        "images": [digest(each) for each in (*images.encoded, *study.images(step=4).encoded)],
        "maps": [digest(each.tobytes()) for each in (*maps, *words)],
        "arrow": digest(repr(study.arrow("FROM trajectory ORDER BY sample_id, concept_id").to_pylist()).encode()),
        "chart": digest(study.figure("film-strip").to_json().encode()),
        "export": [digest(each.read_bytes()) for each in sorted(study.export("film-strip", "figures"))
            if each.suffix in (".svg", ".png", ".csv")],
    }))
assert "torch" not in sys.modules
"""


def test_the_api_of_the_wheel_gives_a_real_studys_numbers(
    light: Installation, study: Path, tmp_path: Path
) -> None:
    """Run by one installation, read by one without torch: the same as in the clone, to the bit."""
    done = light.python(ASK, str(study), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    clone = [sys.executable, "-c", ASK, str(study)]
    environment_of_clone = environment() | {"PYTHONPATH": str(ROOT)}
    (tmp_path / "clone").mkdir()
    expected = subprocess.run(clone, cwd=tmp_path / "clone", env=environment_of_clone, capture_output=True, text=True, check=True)  # fmt: skip
    answers = json.loads(done.stdout)
    assert answers == json.loads(expected.stdout)
    assert len(answers["images"]) == 8 and len(answers["maps"]) > 4 and len(answers["export"]) == 3
    code = "import stepscope; from pathlib import Path; print((Path(stepscope.__file__).parent / 'py.typed').is_file())"
    assert light.python(code, cwd=tmp_path).stdout.split() == ["True"]


def test_a_figure_is_made_again_from_the_published_data_set(
    light: Installation, full: Installation, study: Path, tmp_path: Path
) -> None:
    """The results are gone: the manifest and the data set are all there is, and no torch."""
    shutil.copytree(study, tmp_path / "mine")
    first = light.run("figures", "mine", "--figure", "film-strip", "--out", "first", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    done = full.run("export", "mine", "--format", "huggingface", "--out", "data-set", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    shutil.rmtree(tmp_path / "mine")
    done = light.run("import", "data-set", "--out", "imported", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    manifest = "first/film-strip.manifest.json"
    assert json.loads((tmp_path / manifest).read_text())["command"].startswith("stepscope figures ")
    done = light.run("figures", "--again", manifest, "imported", "--out", "second", cwd=tmp_path)
    assert done.returncode == 0 and "6 of 6 files are the same to the byte" in done.stdout, done
    for name in ("film-strip.png", "film-strip.svg", "film-strip.csv"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_a_study_runs_from_another_folder_with_the_clones_content(
    full: Installation, tmp_path: Path
) -> None:
    study = "data/studies/small.toml"  # the bundled one: nothing of that name is here
    with measured("a study of one prompt", tmp_path):
        done = full.run("run", study, "--limit", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    installed = tmp_path / "data" / "results" / "small"
    assert (installed / "current.json").exists() and not (ROOT / "data" / "data").exists()
    clone = tmp_path / "clone"
    command = [sys.executable, "-m", "pipeline", "run", study, "--limit", "1", "--out", str(clone)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert content(installed) == content(clone) and len(content(clone)) == 2
    shown = full.run("status", str(tmp_path / "nothing"), cwd=tmp_path)
    assert shown.returncode == 2 and "python -m pipeline" not in shown.stderr
    shutil.rmtree(tmp_path)


def content(folder: Path) -> dict[str, str]:
    """The hash of each work unit's content."""
    lines = (folder / "ledger.jsonl").read_text().splitlines()
    entries = [json.loads(line) for line in lines if line.strip()]
    return {entry["unit_id"]: entry["content_sha256"] for entry in entries}
