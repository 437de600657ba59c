"""Every view in AppTest: full, one model, hostile, failed, empty, and what cannot be shown."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import duckdb
import pandas as pd
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from app.database import snapshots
from app.ui import page, queries
from tests.support.pages import MAIN, PATIENCE, VIEWS, Open, charts_of, shown, too_wide
from tests.support.texts import HOSTILE


@pytest.fixture(scope="module")
def altered_once(altered: Callable[..., Path]) -> Callable[..., Path]:
    """Copies of the study that the views only read: each is made once."""
    return cache(altered)


@pytest.mark.parametrize("view", VIEWS)
def test_a_full_study(view: str, open_view: Open, results: Path) -> None:
    app = open_view(view, results)
    assert not app.exception
    assert app.title
    assert not too_wide(app)
    assert charts_of(app) or app.dataframe or view in {"changes", "figures", "measures"}
    assert "95 %" in shown(app) or view in {"changes", "prompts", "figures", "sql"}


@pytest.mark.parametrize("view", VIEWS)
def test_one_model(view: str, open_view: Open, one_model: Path) -> None:
    app = open_view(view, one_model)
    assert not app.exception
    assert ("needs two models" in shown(app)) == (view in {"models", "figures"})


@pytest.mark.parametrize("view", VIEWS)
def test_failures_only(view: str, open_view: Open, failed_only: Path) -> None:
    app = open_view(view, failed_only)
    assert not app.exception
    if view == "overview":
        assert any("out of memory" in str(table.value.to_dict()) for table in app.dataframe)


@pytest.mark.parametrize("view", VIEWS)
def test_a_study_without_samples(view: str, open_view: Open, nothing_yet: Path) -> None:
    app = open_view(view, nothing_yet)
    assert not app.exception


@pytest.mark.parametrize("view", VIEWS)
def test_filtered_to_nothing(view: str, open_view: Open, altered_once: Callable[..., Path]) -> None:
    tables = ("trajectory", "sample", "path")
    study = altered_once(*(f"DELETE FROM {table} WHERE seed = 1" for table in tables))
    app = open_view(view, study, seeds="1")
    assert not app.exception
    # trust is measured on scenes of its own; timesteps are there without any sample; SQL has no filters
    unfiltered = {"prompts", "trust", "schedules", "sql", "measures"}
    assert any(b.label == "Clear the filters" for b in app.button) or view in unfiltered


@pytest.mark.parametrize("view", VIEWS)
def test_hostile_texts_are_only_ever_text(view: str, open_view: Open, hostile: Path) -> None:
    app = open_view(view, hostile)
    assert not app.exception
    _nothing_interpreted(app)


def test_hostile_prompts_can_be_opened(open_view: Open, hostile: Path) -> None:
    from app.ui import queries

    snapshot = queries.locate(hostile)
    prompts = queries.ask(snapshot, "prompt_texts", ids=list(range(1, len(HOSTILE) + 1)))
    assert tuple(prompts["text"]) == HOSTILE
    for key, text in zip(prompts["prompt_key"], HOSTILE, strict=True):
        app = open_view("prompts", hostile, prompt=key)
        assert not app.exception
        assert any(element.value.rstrip("…") in " ".join(text.split()) for element in app.text)
        _nothing_interpreted(app)


def _nothing_interpreted(app: AppTest) -> None:
    for element in [*app.markdown, *app.caption, *app.title, *app.subheader]:
        body = str(element.value)
        assert not getattr(element.proto, "allow_html", False)
        for raw in (
            "<script>",
            "**bold**",
            "[click]",
            ":red[x]",
            "<b>UNet</b>",
            ":red[y]",
            "javascript:alert",
        ):
            assert raw not in body, body[:200]
    assert not app.get("html")


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("UPDATE study SET schema_version = 0",), "older Stepscope"),
        (("UPDATE study SET schema_version = 999",), "newer Stepscope"),
        (("DROP TABLE trajectory",), "trajectory"),
    ],
)
def test_other_schemas_say_what_to_do(
    view: str,
    change: tuple[str, ...],
    words: str,
    open_view: Open,
    altered_once: Callable[..., Path],
) -> None:
    app = open_view(view, altered_once(*change))
    assert not app.exception
    assert words in shown(app)
    assert app.code


@pytest.mark.parametrize("view", VIEWS)
def test_a_missing_study_says_what_to_do(view: str, open_view: Open, tmp_path: Path) -> None:
    app = open_view(view, tmp_path / "nowhere")
    assert not app.exception
    assert "nothing at this path" in shown(app)


def test_a_corrupt_database_says_what_to_do(open_view: Open, tmp_path: Path) -> None:
    (tmp_path / "corrupt.duckdb").write_bytes(b"DUCK" * 5000)
    app = open_view("overview", tmp_path / "corrupt.duckdb")
    assert not app.exception
    assert "not a readable DuckDB database" in shown(app)
    assert "pipeline publish" in app.code[0].value


def test_an_unpublished_folder_says_what_to_do(open_view: Open, tmp_path: Path) -> None:
    app = open_view("overview", tmp_path)
    assert "no published snapshot" in shown(app)


def test_filters_come_from_the_url_and_narrow_every_chart(open_view: Open, results: Path) -> None:
    app = open_view("overview", results)
    label = app.multiselect(key="models").options[0]
    narrowed = open_view("overview", results, models=label)
    assert narrowed.multiselect(key="models").value == [label]
    assert len(ranked(narrowed)) == 1 < len(ranked(app))
    assert "Only one model is shown" in shown(narrowed)


def test_a_link_with_a_filter_of_another_study_is_not_an_error(
    open_view: Open, results: Path
) -> None:
    app = open_view(
        "timesteps", results, models="no such model", step="9999", axis="Nonsense", seeds="77"
    )
    assert not app.exception


def test_filters_survive_a_page_change(open_view: Open, results: Path) -> None:
    app = open_view("overview", results)
    family = app.multiselect(key="families").options[0]
    app.multiselect(key="families").select(family).run()
    for view in ("timesteps", "prompts", "models"):
        app.switch_page(f"views/{view}.py").run()
        assert app.multiselect(key="families").value == [family]
        assert not app.exception


def test_clearing_the_filters(open_view: Open, altered: Callable[..., Path]) -> None:
    app = open_view("timesteps", altered("DELETE FROM trajectory WHERE seed = 1"), seeds="1")
    next(button for button in app.button if button.label == "Clear the filters").click().run()
    assert app.multiselect(key="seeds").value == []
    assert charts_of(app)


def test_the_step_moves_pictures_and_markers(open_view: Open, results: Path) -> None:
    app = open_view("timesteps", results)
    first = next(c.value for c in app.caption if c.value.startswith("Step "))
    app.session_state["step"] = 11  # as the step bar does, which no AppTest can move
    app.run()
    assert app.query_params["step"] == "11"
    second = next(c.value for c in app.caption if c.value.startswith("Step "))
    assert first != second
    assert second.startswith("Step 11 of 0 to 11")


@pytest.mark.parametrize("axis", ["Timestep", "Log-SNR"])
def test_the_axis_can_be_switched(axis: str, open_view: Open, results: Path) -> None:
    app = open_view("timesteps", results, axis=axis)
    assert not app.exception
    assert any(axis.lower() in json.dumps(spec).lower() for spec in charts_of(app))


def test_prompts_are_searched_sorted_and_paged(open_view: Open, results: Path) -> None:
    app = open_view("prompts", results)
    table = app.dataframe[0].value
    assert len(table) == 12
    app.selectbox(key="sort").select("CLIP score, lowest first").run()
    word = table["text"].iloc[0].split()[1]
    app.text_input(key="search").set_value(word).run()
    assert all(word in text for text in app.dataframe[0].value["text"])
    app.text_input(key="search").set_value("no prompt has this").run()
    assert "No prompt matches" in shown(app)


def test_a_prompt_opens_from_its_link_and_closes(open_view: Open, results: Path) -> None:
    app = open_view("prompts", results)
    key = app.dataframe[0].value["prompt_key"].iloc[3]
    text = app.dataframe[0].value["text"].iloc[3]
    opened = open_view("prompts", results, prompt=key)
    assert not opened.exception
    assert text in [element.value for element in opened.text]
    opened.button(key="back").click().run()
    assert "prompt" not in opened.query_params
    assert len(opened.dataframe[0].value) == 12


def test_a_link_to_a_prompt_that_is_not_there_shows_the_table(
    open_view: Open, results: Path
) -> None:
    app = open_view("prompts", results, prompt="0" * 16)
    assert not app.exception
    assert len(app.dataframe[0].value) == 12


def test_models_compares_with_the_chosen_baseline(open_view: Open, results: Path) -> None:
    app = open_view("models", results)
    assert len(app.metric) == 2
    last = app.selectbox(key="baseline").options[-1]
    app.selectbox(key="baseline").select(last).run()
    assert not app.exception
    assert [m.label for m in app.metric if not m.label.endswith(f"vs {last}")] == []


def test_models_are_compared_within_each_category(open_view: Open, results: Path) -> None:
    app = open_view("models", results)
    table = app.dataframe[0].value
    scores = table[table["measure"].str.startswith("CLIP score")]
    for _, scored in scores.groupby("model"):
        whole, parts = (
            scored[scored["measure"] == "CLIP score"],
            scored[scored["measure"] != "CLIP score"],
        )
        assert len(parts) > 1 and parts["prompts"].sum() == whole["prompts"].item()
    assert len(app.multiselect(key="categories").options) == len(parts)
    one = open_view("models", results, categories=app.multiselect(key="categories").options[0])
    assert not one.dataframe[0].value["measure"].str.startswith("CLIP score:").any()


def test_models_that_no_paired_test_separates_share_a_rank(
    open_view: Open, results: Path, direct: duckdb.DuckDBPyConnection
) -> None:
    from scipy import stats
    from statsmodels.stats.multitest import multipletests

    app = open_view("models", results)
    table = next(each.value for each in app.dataframe if "rank" in each.value)
    assert table["mean"].is_monotonic_decreasing and len(table) == 3
    rows = direct.execute(
        "SELECT label, prompt_id, avg(clip_score) AS score FROM sample JOIN model USING (model_id) "
        "WHERE status = 'done' GROUP BY ALL"
    ).df()
    wide = rows.pivot(index="prompt_id", columns="label", values="score")
    pairs = [(a, b) for a in wide for b in wide if a < b]
    tests = [stats.ttest_rel(wide[a], wide[b], nan_policy="omit") for a, b in pairs]
    sure = multipletests([test.pvalue for test in tests], method="holm")[0]
    worse = [
        b if test.statistic > 0 else a
        for (a, b), test, one in zip(pairs, tests, sure, strict=True)
        if one
    ]
    ranks = [1 + worse.count(model) for model in table["model"]]
    assert table["rank"].tolist() == [
        f"={rank}" if ranks.count(rank) > 1 else f"{rank}" for rank in ranks
    ]


def test_several_studies_get_a_picker(open_view: Open, results: Path, one_model: Path) -> None:
    app = open_view("overview", results, one_model)
    assert app.selectbox(key="study").options == ["demo", "single"]
    app.selectbox(key="study").select("single").run()
    assert not app.exception
    assert len(ranked(app)) == 1


def ranked(app: AppTest) -> pd.DataFrame:
    """The overview's table of models."""
    return next(each.value for each in app.dataframe if "rank" in each.value)


def test_every_chart_can_be_downloaded_as_csv(open_view: Open, results: Path) -> None:
    for view in ("overview", "timesteps", "models"):
        app = open_view(view, results)
        assert len(app.get("download_button")) >= 4


def test_csv_holds_the_rows_without_the_images() -> None:

    from app.ui import cards

    data = pd.DataFrame({"model": ['ü, "x"'], "score": [0.25], "image": [b"123"]})
    assert cards.csv(data) == 'model,score\n"ü, ""x""",0.25\n'.encode()


def test_small_pictures_are_enlarged_without_smoothing() -> None:
    import io

    from PIL import Image

    from app.ui import pictures

    small = Image.new("RGB", (64, 64), "red")
    small.putpixel((0, 0), (0, 0, 255))
    raw = io.BytesIO()
    small.save(raw, "WEBP", lossless=True)
    big = Image.open(io.BytesIO(pictures.enlarge(raw.getvalue())))
    assert big.size == (320, 320)
    assert len(big.getcolors() or ()) == 2
    large = io.BytesIO()
    Image.new("RGB", (512, 512)).save(large, "PNG")
    assert pictures.enlarge(large.getvalue()) == large.getvalue()


def test_text_is_escaped_for_markdown() -> None:
    from app.ui.text import plain

    escaped = plain(":red[x] **b** <i> $1$ [a](b) :material/home:\n# h `c` | ~~s~~ &amp;")
    assert "\n" not in escaped
    for character in "*[]<>$`|~&":
        assert all(escaped[i - 1] == "\\" for i, c in enumerate(escaped) if c == character)


def test_with_a_provider_nothing_is_shown_before_the_login(monkeypatch, results: Path) -> None:
    monkeypatch.setattr(sys, "argv", ["app/main.py", str(results)])
    app = AppTest.from_file(str(MAIN), default_timeout=PATIENCE)
    app.secrets["auth"] = {"redirect_uri": "https://x/oauth2callback", "cookie_secret": "s"}
    app.run()
    assert not app.exception
    assert [button.key for button in app.button] == ["login"]
    assert not charts_of(app) and not app.dataframe and "demo" not in shown(app)


def test_every_tooltip_leads_to_a_definition_that_is_there() -> None:
    from app.ui import cards

    headings = re.findall(r"^## (.+)$", cards.DEFINITIONS.read_text(), re.MULTILINE)
    anchors = {heading.lower().replace(" ", "-") for heading in headings}
    assert set(cards.DEFINED.values()) <= anchors
    assert cards.with_definition("What.", "curves") == (
        "What. [How it is defined](measures#concept-similarity)"
    )
    assert cards.with_definition("What.", "gain_deletion") == (
        "What. [How it is defined](measures#insertion-and-deletion)"
    )
    assert cards.with_definition("A file.", "files") == "A file."


@pytest.mark.parametrize("view", VIEWS)
def test_every_measure_is_explained(view: str, open_view: Open, results: Path) -> None:
    app = open_view(view, results)
    unmeasured = {
        "Models and settings",
        "Coverage",
        "Final images",
        "Reproduce",
        "The numbers",
        "Files",
    }
    unmeasured |= {"Answer", "Chart", "Tables"}
    for heading in app.subheader:
        if view != "figures" and heading.value not in unmeasured:
            assert "](measures#" in heading.proto.help, heading.value
    for metric in app.metric:
        if view != "changes":
            assert "](measures#" in metric.proto.help, metric.label


def test_one_scorer_needs_no_picker(open_view: Open, one_model: Path) -> None:
    app = open_view("overview", one_model, scorer="anything")
    assert not app.exception and "scorer" not in [box.key for box in app.selectbox]


def test_the_scorer_is_in_the_url_and_changes_every_number(
    open_view: Open, two_scorers: Path
) -> None:
    first = open_view("models", two_scorers)
    assert first.selectbox(key="scorer").options == ["scenes-clip", "ViT-B-32-openai"]
    assert "the scorers **contradict each other**" in shown(first)
    second = open_view("models", two_scorers, scorer="ViT-B-32-openai")
    assert second.selectbox(key="scorer").value == "ViT-B-32-openai"
    assert not first.exception and not second.exception
    gaps = [float(app.metric[0].value) for app in (first, second)]
    assert gaps[0] < 0 < gaps[1]
    second.switch_page("views/overview.py").run()
    assert second.selectbox(key="scorer").value == "ViT-B-32-openai"
    assert "Scored by ViT-B-32 (openai)" in shown(second).replace("\\", "")


@pytest.mark.parametrize("view", ["timesteps", "prompts", "faithfulness", "review", "figures"])
def test_views_by_another_scorer(view: str, open_view: Open, two_scorers: Path) -> None:
    link = {"columns": "2"} if view == "figures" else {}
    app = open_view(view, two_scorers, scorer="ViT-B-32-openai", **link)
    assert not app.exception
    if view == "figures":
        said = shown(app).replace("\\", "")
        assert "--scorer ViT-B-32-openai" in said and "Scored by ViT-B-32-openai" in said


def test_a_link_with_a_scorer_that_is_not_there_shows_the_first(
    open_view: Open, two_scorers: Path
) -> None:
    app = open_view("sql", two_scorers, scorer="scorer_2'; DROP TABLE sample; --")
    assert not app.exception and app.selectbox(key="scorer").value == "scenes-clip"


def test_a_link_names_its_study_whichever_is_the_newest(
    open_view: Open, results: Path, one_model: Path
) -> None:
    app = open_view("overview", results, one_model)
    assert app.query_params["study"] == "demo", "also the one that is shown anyway"
    later = open_view("overview", one_model, results, study="demo")
    assert not later.exception and later.selectbox(key="study").value == "demo"
    gone = open_view("overview", one_model, results, study="<b>gone</b>")
    assert not gone.exception and gone.selectbox(key="study").value == "single"


def test_the_candidates_looked_at_are_in_the_link(open_view: Open, results: Path) -> None:
    app = open_view("models", results, most_model="Transformer", difference_model="Transformer")
    assert not app.exception
    for key in ("most_model", "difference_model"):
        assert app.selectbox(key=key).value == "Transformer"
    app.selectbox(key="baseline").set_value("Transformer").run()
    assert not app.exception
    assert app.selectbox(key="most_model").value != "Transformer", "it is no candidate any more"


def test_a_spinner_waits_only_where_nothing_stands_yet(open_view: Open, results: Path) -> None:
    app = open_view("overview", results)
    assert app.session_state["_first_look"]
    assert not app.run().session_state["_first_look"], "the old chart stays in its place"
    assert app.switch_page("views/measures.py").run().session_state["_first_look"]


def test_a_question_that_needs_too_much_memory_is_one_sentence(
    results: Path, open_view: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page ended in an exception where DuckDB met the limit of its memory."""
    queries.ANSWERS.clear()  # answers and connections of other tests
    page.RESULTS.clear()
    st.cache_resource.clear()
    monkeypatch.setitem(snapshots.SANDBOX, "memory_limit", "1MB")
    app = open_view("schedules", results)
    assert not app.exception
    assert "needs more memory than it may use" in app.subheader[0].value
    assert "limit 1MB" in app.text[0].value
    st.cache_resource.clear()  # the connection with that limit
