"""Kolors needs a package that the requirements do not install: without it, its folder is refused in one line that names it."""

from __future__ import annotations

import json

import pytest

from pipeline.errors import ModelError
from pipeline.models import folders
from pipeline.models.folders import check_index, missing_packages
from tests.support.tiny_kolors import KOLORS


@pytest.mark.skipif(bool(KOLORS), reason="the package sentencepiece is installed")
@pytest.mark.parametrize("name", ["KolorsPipeline", "KolorsPAGPipeline"])
def test_without_the_package_a_folder_is_refused_by_its_name(tmp_path, name):
    index = {"_class_name": name, "_diffusers_version": "0.42.0"}
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match="only where sentencepiece is installed. Install it: pip"):
        check_index(index, tmp_path, "model kolors")


def test_what_is_installed_is_not_asked_for(monkeypatch):
    assert missing_packages("StableDiffusionPipeline") == missing_packages("NoPipeline") == []
    assert missing_packages(["KolorsPipeline"]) == []
    monkeypatch.setattr(folders, "find_spec", lambda name: None)
    monkeypatch.setattr(
        folders.diffusers, "StandIn", type("StandIn", (), {"_backends": ["one"]}), raising=False
    )
    assert missing_packages("StandIn") == ["one"]
