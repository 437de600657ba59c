"""Study files: what a good one means, and one clear error for everything that a bad one can hold."""

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import StudyError
from pipeline.study import spec, tools
from pipeline.study.reading import load_study, parse_study
from pipeline.study.spec import Frames, ToolSpec, study_spec

GOOD = """
name = "mine"
seeds = [0, 1]
[prompts]
path = "prompts.txt"
[scorer]
source = "ViT-B-32"
pretrained = "openai"
[concepts]
path = "bank.toml"
[measures]
attention = { steps = { stride = 5 } }
df-rise = { steps = [0, 9], masks = 50, prompts = 2 }
[[model]]
name = "a"
source = "owner/model"
steps = 10
"""


@pytest.fixture
def write(tmp_path):
    (tmp_path / "prompts.txt").write_text("a cat\n")
    (tmp_path / "bank.toml").write_text("")

    def write(text: str) -> Path:
        path = tmp_path / "study.toml"
        path.write_text(text)
        return path

    return write


def test_a_good_study(write, tmp_path):
    study = load_study(write(GOOD))
    assert (study.name, study.title, study.seeds) == ("mine", "mine", (0, 1))
    assert study.prompts.path == tmp_path / "prompts.txt" and study.prompts.format == "txt"
    assert study.models[0].label == "a" and study.models[0].guidance == 4.0
    assert set(study.measures.tools()) == {"attention", "df-rise"}
    assert study.measures.df_rise.options == {"masks": 50}


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('name = "mine"', 'name = "../mine"', "name = '../mine' is not a name"),
        ('name = "mine"', "name = 3", "name = 3 is not text"),
        ('name = "mine"', "", "name is missing"),
        ("seeds = [0, 1]", "seeds = [0, 0]", "seeds holds 0 twice"),
        ("seeds = [0, 1]", "seeds = []", "seeds is an empty list"),
        ("seeds = [0, 1]", "seeds = [-1]", "out of range"),
        ("seeds = [0, 1]", "seeds = [1.5]", "not a whole number"),
        ("seeds = [0, 1]", "seeds = [true]", "not a whole number"),
        ("seeds = [0, 1]", "seds = [0]\nseeds = [0]", "seds is an unknown key.*Did you mean 'seeds'"),
        ("seeds = [0, 1]", "seeds = 7", "not a list"),
        ('path = "prompts.txt"', 'path = "none.txt"', "prompts.path = 'none.txt' does not exist"),
        ('path = "prompts.txt"', 'path = "."\nformat = "csv"', "is a folder"),
        ('path = "prompts.txt"', 'path = "prompts.txt"\nformat = "xml"', "Allowed: csv, tsv"),
        ('path = "prompts.txt"', 'path = "prompts.txt"\nlimit = 1\nsample = 1', "exclude each other"),
        ('path = "prompts.txt"', 'path = "prompts.txt"\nlimit = 0', "prompts.limit = 0 is out of"),
        ('path = "prompts.txt"', 'path = "prompts.txt"\nsplit = "test"', 'needs format = "karpathy"'),
        ('path = "prompts.txt"', 'path = "prompts.txt"\ncolumns = { txt = "a" }', "prompts.columns.txt"),
        ('path = "bank.toml"', 'path = "bank.tml"', "concepts.path = 'bank.tml' does not exist"),
        ("steps = { stride = 5 }", "steps = { stride = 0 }", "stride = 0 is out of range"),
        ("steps = { stride = 5 }", 'steps = "some"', 'Allowed: "all"'),
        ("steps = [0, 9]", "steps = [0, 10]", "holds 10, but model 'a' has steps 0 to 9"),
        ("masks = 50", "maks = 50", "measures.df-rise.maks is an unknown key.*Did you mean 'masks'"),
        ("masks = 50", "masks = 0", "masks = 0 is out of range"),
        ("masks = 50", 'similarity = "structur"', "Did you mean 'structure'"),
        ("df-rise", "df-raise", "Did you mean 'df-rise'"),
        ("masks = 50", "masks = 1.0", "measures.df-rise.masks = 1.0 is not a whole number"),
        ("masks = 50", "masks = true", "masks = True is not a whole number"),
        ("masks = 50", "masks = 1000001", "masks = 1000001 is out of range. Allowed: 1 to 1000000"),
        ("masks = 50", "probability = nan", "probability = nan is out of range"),
        ("masks = 50", "probability = 'x'", "probability = 'x' is not a number"),
        ("masks = 50", "per_pixel = 1", "per_pixel = 1 is not true or false"),
        ("masks = 50", "similarity = 3", "similarity = 3 is unknown. Allowed: clip"),
        ("steps = [0, 9]", "steps = []", "measures.df-rise.steps is an empty list"),
        ("steps = [0, 9]", "steps = [0, 0]", "measures.df-rise.steps holds 0 twice"),
        ("steps = [0, 9]", "steps = [0, -1]", "steps holds -1, which is out of range. Allowed: 0 to"),
        ("steps = [0, 9]", "steps = 3", 'df-rise.steps = 3 is not allowed. Allowed: "all", .0, 10. or'),
        ("steps = { stride = 5 }", "steps = { strid = 5 }", "steps.stride is missing. .*strid"),
        ("steps = { stride = 5 }", "words = 'cat'", "words = 'cat' is not a list"),
        ("steps = { stride = 5 }", "words = [' ']", "words holds ' ', which is not text"),
        ("steps = { stride = 5 }", "models = ['b']", "models holds 'b', which is no model"),
        ("attention = { steps = { stride = 5 } }", "faithfulness = { games = ['chess'] }", "games holds 'chess', which is unknown. Allowed: deletion, insertion"),
        ("attention = { steps = { stride = 5 } }", "switch = { template = '{who}' }", "measures.switch.template holds {who}. Allowed: {prompt}"),
        ("attention = { steps = { stride = 5 } }", "switch = { template = 'x', bases = ['y'] }", "bases and template exclude each other"),
        ("attention = { steps = { stride = 5 } }", "switch = { judge = 'data/none' }", "measures.switch.judge = 'data/none' is no folder"),
        ("attention = { steps = { stride = 5 } }", "switch = { directions = ['up'] }", "directions holds 'up', which is unknown. Allowed: insert, remove"),
        ('name = "a"', 'name = "a/b"', "is not a name"),
        ('name = "a"', 'name = "a\\u0000"', "control characters"),
        ('source = "owner/model"', 'source = "data/models/none"', "does not exist"),
        ('source = "owner/model"', 'source = "some words"', "neither a folder nor a Hub id"),
        ("steps = 10", "steps = 0", "steps = 0 is out of range"),
        ("steps = 10", "steps = 10\nguidance = nan", "guidance = nan is out of range"),
        ("steps = 10", "steps = 10\nguidance = inf", "out of range"),
        ("steps = 10", 'steps = 10\nschedule = "karas"', "Did you mean 'karras'"),
        ("steps = 10", "steps = 10\ngamma = 60.0", "gamma needs schedule"),
        ("steps = 10", 'steps = 10\ndtype = "float8"', "dtype = 'float8' is unknown"),
        ("steps = 10", 'steps = 10\nscheduler = "os.system"', "not the name of a diffusers scheduler"),
        ("[[model]]", "[model]", "model.*is not a list"),
        ("[scorer]", "[scorers]", "scorer is missing"),
        ('name = "mine"', 'name = "mine', "not TOML"),
    ],
)  # fmt: skip
def test_a_bad_study_gets_one_clear_error(write, old, new, says):
    assert old in GOOD
    path = write(GOOD.replace(old, new, 1))
    with pytest.raises(StudyError, match=says) as caught:
        load_study(path)
    message = str(caught.value)
    assert message.startswith(str(path)) and "\n" not in message and len(message) < 700


TWO = GOOD.replace("[scorer]", "[[scorer]]").replace(
    "[concepts]", '[[scorer]]\nsource = "hf-hub:owner/tiny"\n[concepts]'
)


def test_several_scorers_have_names_given_or_made_of_their_source(write):
    study = load_study(write(TWO))
    assert [s.name for s in study.scorers] == ["ViT-B-32-openai", "tiny"]
    assert study.scorer == study.scorers[0]
    assert parse_study(study_spec(study), study.path) == study
    named = load_study(write(TWO.replace('source = "hf-hub', 'name = "mine"\nsource = "hf-hub')))
    assert [s.name for s in named.scorers] == ["ViT-B-32-openai", "mine"]


def test_a_list_of_one_scorer_is_the_same_study_as_a_table(write):
    assert load_study(write(GOOD.replace("[scorer]", "[[scorer]]"))) == load_study(write(GOOD))
    assert study_spec(load_study(write(GOOD)))["scorer"] == {
        "source": "ViT-B-32",
        "pretrained": "openai",
    }


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("hf-hub:owner/tiny", "data/models/none", r"scorer\[1\].source = 'data/models/none' does not exist"),
        ('source = "hf-hub', 'pretraned = ""\nsource = "hf-hub', r"scorer\[1\].pretraned is an unknown key.*'pretrained'"),
        ('source = "hf-hub', 'name = "x"\nsorce = "hf-hub', r"scorer 'x'.source is missing. Is it meant by 'sorce'"),
        ('source = "hf-hub', 'name = "a b"\nsource = "hf-hub', r"scorer\[1\].name = 'a b' is not a name"),
        ('source = "hf-hub', 'name = "ViT-B-32-openai"\nsource = "hf-hub', "'ViT-B-32-openai' 2 times. Give each"),
        ('source = "hf-hub:owner/tiny"', "", r"scorer\[1\].source is missing"),
        ("[[scorer]]", '[[scorer]]\nsource = "a"\n' * 9 + "[[scorer]]", "11 tables. Allowed: 1 to 9"),
    ],
)  # fmt: skip
def test_an_error_of_several_scorers_says_which(write, old, new, says):
    assert old in TWO
    with pytest.raises(StudyError, match=says) as caught:
        load_study(write(TWO.replace(old, new, 1)))
    assert "\n" not in str(caught.value)


def test_a_misspelt_required_key_is_named(tmp_path):
    file = tmp_path / "study.toml"
    file.write_text(Path("data/studies/small.toml").read_text().replace("seeds =", "sedes ="))
    with pytest.raises(StudyError, match=r"seeds is missing\. Is it meant by 'sedes'\?"):
        load_study(file)


def test_two_models_with_one_name(write):
    twice = GOOD + '[[model]]\nname = "a"\nsource = "owner/other"\n'
    with pytest.raises(StudyError, match=r"model.name = 'a' is used twice"):
        load_study(write(twice))


def test_no_such_file(tmp_path):
    with pytest.raises(StudyError, match="no such file"):
        load_study(tmp_path / "none.toml")


def test_not_utf8(tmp_path):
    (tmp_path / "s.toml").write_bytes(b'name = "\xff"')
    with pytest.raises(StudyError, match="not UTF-8 at byte 8"):
        load_study(tmp_path / "s.toml")


def test_where_a_missing_prompt_file_comes_from(write):
    text = GOOD.replace("prompts.txt", "none.json").replace(
        "[scorer]", 'obtain = "Get it from the library"\n[scorer]'
    )
    with pytest.raises(StudyError, match="does not exist. Get it from the library"):
        load_study(write(text))


def test_seeds_and_limit_of_the_command_line(write):
    path = write(GOOD)
    assert load_study(path, seeds=[7, 3]).seeds == (7, 3)
    assert load_study(path, limit=5).prompts.limit == 5
    for wrong in ({"seeds": [1, 1]}, {"seeds": []}, {"limit": 0}):
        with pytest.raises(StudyError, match="--"):
            load_study(path, **wrong)


def test_a_limit_comes_after_a_sample(write):
    path = write(GOOD.replace('path = "prompts.txt"', 'path = "prompts.txt"\nsample = 9'))
    study = load_study(path, limit=2)
    assert (study.prompts.sample, study.prompts.limit) == (9, 2)
    assert parse_study(study_spec(study), path, check_files=False).prompts == study.prompts


@pytest.mark.parametrize("name", sorted(p.name for p in Path("data/studies").glob("*.toml")))
def test_every_shipped_study_comes_back_from_its_record(name, tmp_path):
    values = tomllib.loads(Path("data/studies", name).read_text())
    for model in values["model"]:  # a record has no patterns
        if "checkpoints" in model:
            model.setdefault("source", model.pop("checkpoints"))
    study = parse_study(values, Path("data/studies", name), check_files=False)
    assert parse_study(study_spec(study), study.path, check_files=False) == study


@pytest.mark.parametrize("name", ["park2024-coco", "park2024-genome"])
def test_the_papers_studies_say_where_to_get_their_prompts(name):
    study = Path(f"data/studies/{name}.toml")
    if Path(tomllib.loads(study.read_text())["prompts"]["path"]).exists():
        pytest.skip("the prompts are here")
    with pytest.raises(StudyError, match=r"prompts.path.* does not exist. Get "):
        load_study(study)


def test_steps_of_tools_and_frames():
    assert ToolSpec().at(3) == (0, 1, 2)
    assert ToolSpec(stride=4).at(10) == (0, 4, 8, 9)
    assert ToolSpec(steps=(9, 2, 30)).at(10) == (2, 9)
    assert Frames(stride=5).at(6) == (0, 5) and Frames(stride=100).at(3) == (0, 2)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@given(st.data())
def test_any_value_in_any_place_is_refused_or_understood(data):
    """Never another exception than StudyError, whatever stands where."""
    good = tomllib.loads(GOOD)
    table, last = good, data.draw(st.sampled_from(sorted(good)))
    while isinstance(table[last], dict) and data.draw(st.booleans()):
        table = table[last]
        last = data.draw(st.sampled_from(sorted(table)))
    table[last] = data.draw(VALUES)
    try:
        study = parse_study(good, Path("study.toml"), check_files=False)
    except StudyError as error:
        assert "\n" not in str(error)
    else:
        assert replace(study) == study and study_spec(study)


def test_the_settings_of_tools_name_what_the_study_does():
    """The literals of the settings are the lists that the rest of the pipeline uses."""
    assert tuple(tools.TOOL_SETTINGS) == spec.TOOLS
    assert get_args(tools.Method) == spec.METHODS
    assert get_args(tools.Game) == spec.GAMES
    assert get_args(tools.Score) == spec.SCORES
    assert get_args(tools.Similarity) == spec.SIMILARITIES
    assert (*get_args(tools.LatentSimilarity), *spec.OF_IMAGES) == spec.SIMILARITIES
    assert get_args(tools.Design) == spec.DESIGNS
    assert get_args(tools.Direction) == spec.DIRECTIONS


WRONG = (
    None,
    -1,
    0,
    10**30,
    1.5,
    float("nan"),
    True,
    "x",
    "",
    [],
    [None],
    ["x", "x"],
    {},
    {"stride": 0},
)


@pytest.mark.parametrize("tool", spec.TOOLS)
@pytest.mark.parametrize("value", WRONG, ids=repr)
def test_any_value_of_any_setting_is_read_or_refused_in_one_line(write, tool, value):
    values = tomllib.loads(GOOD)
    for key in tools.TOOL_SETTINGS[tool].__struct_fields__:
        values["measures"] = {tool: {key: value}}
        try:
            parse_study(values, write(GOOD), check_files=False)
        except StudyError as error:
            assert f"measures.{tool}.{key}" in str(error) and "\n" not in str(error)
