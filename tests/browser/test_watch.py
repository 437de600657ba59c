"""A page that waits for a first snapshot opens by itself."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipeline.database.publish import publish
from tests.support.browser import MARKS, Reader, wait

pytestmark = [*MARKS, pytest.mark.long]


@pytest.fixture(scope="module")
def results(results: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder before its first snapshot."""
    folder = Path(shutil.copytree(results, tmp_path_factory.mktemp("unpublished") / "demo"))
    shutil.rmtree(folder / "snapshots")
    (folder / "current.json").unlink()
    return folder


def test_the_first_snapshot_opens_the_page(reader: Reader, results: Path) -> None:
    reader.open("/models?baseline=Transformer&candidate=UNet")
    assert "holds no published snapshot" in reader.text()
    reader.driver.execute_script("window.same = true")
    publish(results)
    wait(lambda: reader.title() == "Models", reader.text)
    reader.settle()
    assert reader.driver.execute_script("return window.same"), "without a reload"
    assert "Transformer" in reader.text() and "candidate=UNet" in reader.url()
