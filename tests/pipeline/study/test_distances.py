"""[[distance]] of a study file: what is read, what is refused, and that it makes no work unit another one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import StudyError
from pipeline.results.scores import NAME as SCORE_NAME
from pipeline.study.distances import NAME
from pipeline.study.reading import load_study, parse_study
from pipeline.study.spec import DistanceSpec, study_spec

VALUES: dict[str, Any] = {
    "name": "s",
    "seeds": [0],
    "prompts": {"path": "data/prompts/scenes.csv", "limit": 1},
    "scorer": {"source": "data/models/scenes-clip"},
    "concepts": {"path": "data/concepts/scenes.toml"},
    "model": [
        {"name": name, "source": "data/models/scenes-unet", "steps": steps}
        for name, steps in (("base", 2), ("next", 3))
    ],
}


def read(*distances: dict[str, Any], check: bool = False) -> Any:
    values = VALUES | {"distance": list(distances)}
    return parse_study(values, Path("x.toml"), check_files=check)


LPIPS = {"kind": "lpips", "weights": "alex.safetensors", "reference": "base"}
DINO = {"kind": "dino", "weights": "models/dinov2", "reference": "base"}
SSIM = {"kind": "ssim", "reference": "base"}


def test_distances_are_read_and_written_down() -> None:
    study = read(LPIPS, DINO, LPIPS | {"name": "lpips-vgg", "reference": "next"})
    assert study.distances[0] == DistanceSpec("lpips", "alex.safetensors", "base", "lpips")
    assert [each.name for each in study.distances] == ["lpips", "dino", "lpips-vgg"]
    assert parse_study(study_spec(study), study.path, check_files=False) == study
    assert "distance" not in study_spec(parse_study(VALUES, Path("x.toml"), check_files=False))


def test_distances_of_steps_and_without_weights_are_read_and_written_down() -> None:
    values = VALUES | {
        "distance": [SSIM, SSIM | {"name": "x0", "steps": True}],
        "measures": {"frames": {}},
    }
    study = parse_study(values, Path("x.toml"), check_files=False)
    assert study.distances == (
        DistanceSpec("ssim", None, "base", "ssim"),
        DistanceSpec("ssim", None, "base", "x0", steps=True),
    )
    assert study_spec(study)["distance"][0] == {"kind": "ssim", "reference": "base", "name": "ssim"}
    assert parse_study(study_spec(study), study.path, check_files=False) == study


def test_a_name_is_one_that_a_score_may_have() -> None:
    assert NAME.pattern == SCORE_NAME.pattern


@pytest.mark.parametrize(
    ("distances", "said"),
    [
        ([LPIPS | {"kind": "vgg"}], "distance[0].kind = 'vgg' is unknown. Allowed: lpips, dino, ssim, psnr"),
        ([LPIPS | {"kind": "ssim"}], "distance 'ssim'.weights is an unknown key. Allowed: kind, name, reference, steps"),
        ([SSIM | {"steps": True}], "'ssim' has steps = true, which compares recorded frames, and the study records none. Add [measures.frames]"),
        ([SSIM | {"steps": 3}], "distance 'ssim'.steps = 3"),
        ([LPIPS, DINO | {"reference": "bas"}], "distance 'dino'.reference = 'bas' is no model of this study. Allowed: base, next. Did you mean 'base'?"),
        ([LPIPS, LPIPS], "x.toml: distance holds 'lpips' 2 times. Give each [[distance]] a name of its own"),
        ([LPIPS | {"name": "LPIPS"}], "distance[0].name = 'LPIPS' is not a name. Allowed: a-z"),
        ([LPIPS | {"net": "alex"}], "distance 'lpips'.net is an unknown key. Allowed: kind, name, weights, reference, steps"),
        ([{"kind": "dino", "reference": "base"}], "distance 'dino'.weights is missing"),
        ([DINO | {"name": f"d{n}"} for n in range(10)], "distance holds 10 tables. Allowed: 1 to 9"),
        ([], "distance is empty. Add at least one [[distance]]"),
    ],
)  # fmt: skip
def test_what_cannot_be_measured_is_one_line(distances: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(StudyError, match=re.escape(said)) as raised:
        read(*distances)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (LPIPS, "weights = 'alex.safetensors' does not exist. Give a .safetensors file"),
        (LPIPS | {"weights": "data"}, "weights = 'data' is a folder, not a file. Give a .safetensors"),
        (DINO | {"weights": "README.md"}, "weights = 'README.md' is a file, not a folder. Give the folder of a DINOv2"),
    ],
)  # fmt: skip
def test_weights_that_are_not_there_are_named(values: dict[str, Any], said: str) -> None:
    with pytest.raises(StudyError, match=re.escape(said)):
        read(values, check=True)


def test_weights_are_looked_up_beside_the_study(tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").touch()
    text = Path("data/studies/small.toml").read_text()
    name = load_study("data/studies/small.toml").models[0].name
    table = f'\n[[distance]]\nkind = "lpips"\nweights = "w.safetensors"\nreference = "{name}"\n'
    (tmp_path / "study.toml").write_text(text + table)
    study = load_study(tmp_path / "study.toml")
    assert study.distances[0].weights == str(tmp_path / "w.safetensors")
