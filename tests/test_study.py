"""Study files: every mistake is one clear message that names the place; what is right comes back unchanged."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import StepscopeError, StudyError
from pipeline.study import load_study, parse_study, study_spec

SMALL = Path("data/studies/small.toml").read_text()


def broken(tmp_path, old, new):
    assert old in SMALL
    file = tmp_path / "study.toml"
    file.write_text(SMALL.replace(old, new, 1))
    with pytest.raises(StudyError) as caught:
        load_study(file)
    return str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("seeds = [0]", "sedes = [0]", ["sedes"]),
        ("seeds = [0]", "seeds = [0, 0]", ["seeds"]),
        ("seeds = [0]", 'seeds = "zero"', ["seeds"]),
        ("seeds = [0]", "seeds = []", ["seeds"]),
        ('name = "small"', 'name = "../up"', ["name", "../up"]),
        ("scenes.csv", "absent.csv", ["absent.csv", "does not exist"]),
        ("concepts/scenes.toml", "concepts/none.toml", ["none.toml"]),
        ("steps = 6", "steps = 0", ["steps"]),
        ("steps = 6", "steps = 2.5", ["steps"]),
        ('name = "scenes-dit"', 'name = "scenes-unet"', ["scenes-unet"]),
        ("guidance = 4.0", 'schedule = "fastest"', ["schedule", "fastest", "uniform"]),
        ("guidance = 4.0", 'scheduler = "NoSuchScheduler"', ["NoSuchScheduler"]),
        ("spectrum = true", "spectrumm = true", ["spectrumm", "spectrum"]),
        ("spectrum = true", "attention = { steps = [99] }", ["99"]),
        ("[scorer]", "[scorer", ["study.toml"]),
    ],
)
def test_mistakes(tmp_path, old, new, words):
    message = broken(tmp_path, old, new)
    for word in words:
        assert word in message, message
    assert "\n" not in message


def test_the_spec_is_the_study():
    for file in ("demo", "small"):
        study = load_study(f"data/studies/{file}.toml")
        assert parse_study(study_spec(study), study.path) == study


def test_seeds_and_limit_replace_those_of_the_file():
    study = load_study("data/studies/small.toml", seeds=[5, 6], limit=2)
    assert study.seeds == (5, 6) and study.prompts.limit == 2


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused_clearly(tmp_path_factory, text):
    file = tmp_path_factory.mktemp("any") / "study.toml"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(StepscopeError):
        load_study(file)
