"""What changed between two snapshots: counted by hand, and shown."""

from __future__ import annotations

import json
import shutil

import duckdb
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from app.analysis import changes, comparison, tags
from app.analysis.measures import Measure
from app.database.notebook import store_of
from pipeline.database.publish import publish
from tests.support.pages import Open, shown


def rows(**scores: float | None) -> pd.DataFrame:
    return pd.DataFrame(
        {"model": "m", "prompt_key": key, "seed": 0, "done": int(score is not None), "failed": int(score is None), "score": score}
        for key, score in scores.items()
    )  # fmt: skip


def test_by_model_by_hand():
    then, now = rows(a=0.1, b=0.2, c=0.3, d=None), rows(b=0.2, c=0.5, d=0.4, e=0.6)
    (change,) = changes.by_model(then, now).to_dict("records")
    assert (change["done_then"], change["done_now"], change["failed_then"]) == (3, 4, 1)
    assert (change["shared"], change["altered"]) == (2, 1)
    assert change["difference"] == pytest.approx(0.1)
    assert change["score_then"] == pytest.approx(0.25), "of b and c, which both have"
    names = changes.names(then, now)
    assert (names.more_prompts, names.fewer_prompts) == (1, 1)


def test_another_seed_alters_nothing():
    then = rows(a=0.1, b=0.2)
    now = pd.concat([then, rows(a=0.5, b=0.7).assign(seed=1)])
    (change,) = changes.by_model(then, now).to_dict("records")
    assert (change["shared"], change["altered"], change["difference"]) == (2, 0, 0)
    assert change["score_now"] == change["score_then"] == pytest.approx(0.15)
    names = changes.names(then, now)
    assert (names.more_seeds, names.fewer_seeds) == ((1,), ())


def test_a_mean_never_compares_different_prompts():
    """Harder prompts are added: every mean falls, and no prompt has changed."""
    then = rows(**{f"p{i}": 0.4 for i in range(8)})
    now = pd.concat([then, rows(**{f"q{i}": 0.1 for i in range(8)})])
    (change,) = changes.by_model(then, now).to_dict("records")
    assert now["score"].mean() < then["score"].mean()
    assert (change["difference"], change["verdict"], change["worse"]) == (0, "not separable", 0)


def test_verdicts_are_by_the_rule_over_every_model():
    """Holm over the models, 6 prompts at least: against scipy's paired test and Holm's steps by hand."""
    generator = np.random.default_rng(0)
    then = pd.concat(
        [
            rows(**{f"p{i}": 0.3 + 0.01 * i for i in range(n)}).assign(model=m)
            for m, n in (("a", 9), ("b", 9), ("c", 5))
        ]
    )
    now = then.assign(score=then["score"] + generator.normal(-0.02, 0.02, len(then)))
    now.loc[now["model"] == "c", "score"] = (
        then.loc[then["model"] == "c", "score"] - 0.5 - 0.01 * np.arange(5)
    )
    table = changes.by_model(then, now).set_index("model")
    p = {
        m: stats.ttest_rel(
            now.loc[now["model"] == m, "score"], then.loc[then["model"] == m, "score"]
        ).pvalue
        for m in "abc"
    }
    order = sorted(p, key=p.__getitem__)
    steps = np.minimum(1, np.maximum.accumulate([p[m] * (3 - k) for k, m in enumerate(order)]))
    assert table.loc[order, "q"].tolist() == pytest.approx(steps.tolist())
    assert table.loc["c", "q"] < 0.05 and table.loc["c", "said"] == "too few prompts"
    for model in "ab":
        assert table.loc[model, "said"] == (
            "worse" if table.loc[model, "q"] < 0.05 else "not separable"
        )


def test_prompts_by_hand():
    then = pd.concat([rows(a=0.30, b=0.20, c=0.40), rows(a=0.30, b=0.20).assign(seed=1)])
    now = pd.concat([rows(a=0.10, b=0.21, c=0.4004), rows(a=0.28, b=0.25).assign(seed=1)])
    table = changes.prompts(then, now, threshold=0.001).set_index("prompt_key")
    assert table.index.tolist() == ["a", "c", "b"], "the worst first"
    assert table["state"].tolist() == ["worse", "unaltered", "better"]
    assert table.loc["a", "difference"] == pytest.approx(-0.11)
    assert table.loc["a", ["seeds", "seeds_worse", "seeds_altered", "seed"]].tolist() == [
        2,
        2,
        2,
        0,
    ]
    assert table.loc["a", ["seed_then", "seed_now"]].tolist() == [0.30, 0.10]
    assert table.loc["b", ["seed", "seed_then", "seed_now"]].tolist() == [1, 0.20, 0.25], (
        "the seed that rose the most"
    )
    assert changes.prompts(then, now, threshold=0.0001)["state"].tolist() == [
        "worse",
        "better",
        "better",
    ]
    assert changes.prompts(then, now, threshold=1)["state"].tolist() == ["unaltered"] * 3


def test_where_lower_is_better_a_rise_is_a_loss():
    lower = Measure("LPIPS", "score", True, ("worse", "better"))
    then, now = rows(a=0.1, b=0.3), rows(a=0.4, b=0.2)
    table = changes.prompts(then, now, lower)
    assert table["prompt_key"].tolist() == ["a", "b"] and table["state"].tolist() == [
        "worse",
        "better",
    ]
    (row,) = changes.by_model(then, now, lower).to_dict("records")
    assert (row["worse"], row["better"]) == (1, 1)


def concept_rows(**finals: list[float]) -> pd.DataFrame:
    return pd.DataFrame(
        {"model": "m", "family": "f", "concept": concept, "prompt_key": f"p{i}", "seed": 0, "final": final, "auc": None, "emergence": 3.0}
        for concept, values in finals.items() for i, final in enumerate(values)
    )  # fmt: skip


def test_concepts_are_paired_and_the_surest_comes_first():
    """A concept whose prompts were added differs in its mean, not in a pair."""
    then = concept_rows(a=[0.2] * 6, b=[0.3, 0.31, 0.3, 0.32, 0.3, 0.3], c=[0.5])
    now = concept_rows(a=[0.2] * 6 + [0.9], b=[0.2, 0.22, 0.19, 0.21, 0.2, 0.2], c=[0.1])
    table = changes.by_concept(then, now, [comparison.FINAL])
    assert table["concept"].tolist()[0] == "b"
    known = table.set_index("concept")
    assert (known.loc["a", "difference"], known.loc["a", "shared"]) == (0, 6)
    assert known.loc["b", "said"] == "lower"
    p = stats.ttest_rel(
        now.query("concept == 'b'")["final"], then.query("concept == 'b'")["final"]
    ).pvalue
    expected = stats.false_discovery_control([p, 1.0])  # one prompt has no p
    assert known.loc["b", "q"] == pytest.approx(expected[0])
    assert known.loc["c", "said"] == "too few prompts"


def test_a_familys_value_is_the_mean_over_the_concepts_that_both_have():
    then = concept_rows(a=[0.2, 0.2], b=[0.4])
    now = concept_rows(a=[0.1, 0.3], c=[0.9])
    first, second = changes.family_rows(then, now, "final", "f")
    assert first["score"].tolist() == [0.2, 0.2] and second["score"].tolist() == [0.1, 0.3]


@pytest.fixture
def twice(tmp_path, results):
    """A study published twice, whose older snapshot is another: one model and half of the prompts less."""
    folder = tmp_path / "demo"
    shutil.copytree(results, folder, ignore=shutil.ignore_patterns("*.copy.duckdb"))
    old = folder / json.loads((folder / "current.json").read_text())["snapshot"]
    with duckdb.connect(str(old)) as db:
        db.execute("DELETE FROM sample WHERE model_id = 3 OR prompt_id > 12")
        db.execute("UPDATE sample SET clip_score = clip_score - 0.1 WHERE model_id = 1")
        db.execute("UPDATE study SET done_samples = 48, content_hash = 'other'")
    publish(folder)
    return folder


def tables(app) -> dict[str, pd.DataFrame]:
    return {element.proto.alt: element.value for element in app.dataframe}


def test_the_view_tells_what_changed(twice, open_view: Open):
    app = open_view("changes", twice)
    assert not app.exception
    text = shown(app)
    assert "content hashes differ" in text
    assert "12 prompts" in text
    table = tables(app)["What changed by model"].set_index("model")
    assert table["shared"].to_dict() == {"UNet": 12, "UNet (quarter)": 12, "Transformer": 0}
    assert table["altered"].to_dict() == {"UNet": 12, "UNet (quarter)": 0, "Transformer": 0}
    assert table.loc["UNet", "difference"].startswith("+0.100 [")
    assert table.loc["UNet", "said"] == "better"
    assert "**UNet**: CLIP score +0.100" in text and "12 of" not in text.split("**UNet**")[0]


def test_a_link_carries_the_choice(twice, open_view: Open):
    """The snapshot (by its label, or by its file as links of earlier versions say), measure, model, side and threshold."""
    link = {
        "change_measure": "Final similarity: object",
        "changed_model": "UNet",
        "changed_side": "Better",
    }
    app = open_view(
        "changes", twice, since="small-000001", **link, altered="0.2", changed_number="3"
    )
    assert not app.exception
    held = {key: app.session_state[key] for key in (*link, "altered", "changed_number")}
    assert held == {**link, "altered": 0.2, "changed_number": 3}
    assert app.session_state["since"].startswith("Snapshot 1, ")
    assert "No prompt became better by more than the threshold" in shown(app)
    assert (
        open_view(
            "changes", twice, **{**link, "changed_model": "nobody", "altered": "inf"}
        ).session_state["altered"]
        == changes.THRESHOLD
    )


def test_the_filters_count(twice, open_view: Open):
    for link, shared in (
        ({"models": "UNet"}, [12]),
        ({"slice_text": "zzz"}, []),
        ({"seeds": "1"}, [0, 12, 12]),
    ):
        app = open_view("changes", twice, **link)
        table = tables(app).get("What changed by model", pd.DataFrame({"shared": []}))
        assert sorted(table["shared"]) == shared, link


def test_prompts_are_tagged_and_become_a_slice(twice, open_view: Open):
    app = open_view(
        "changes", twice, changed_model="UNet", changed_side="Better", changed_number="4"
    )
    app.selectbox(key="changed_tag").set_value(7).run()
    app.button(key="changed_tag_give").click().run()
    assert not app.exception and "4 prompts tagged 7" in shown(app)
    assert len(tags.tagged(store_of(twice), [7])) == 4
    app.button(key="changed_tag_slice").click().run()
    assert app.session_state["slice_tags"] == [7]
    assert set(tables(app)["What changed by model"]["shared"]) == {4, 0}


def test_measures_that_are_defined_differently_are_named_and_not_compared(twice, open_view: Open):
    old = min((twice / "snapshots").glob("*.duckdb"))
    with duckdb.connect(str(old)) as db:
        db.execute("UPDATE concept SET phrasings = ['another'] WHERE name = 'apple'")
        db.execute(
            "UPDATE contrast SET threshold = list_transform(threshold, lambda x: x + 1) WHERE model_id = 1"
        )
    app = open_view("changes", twice)
    text = shown(app).replace("\\", "")
    assert "object: apple**: other phrasings" in text and "Emergence step, UNet: " in text
    table = tables(app)["What changed by concept"]
    assert "object: cat" in set(table["concept"]) and "object: apple" not in set(table["concept"])
    emergence = table[table["measure"].str.startswith("Emergence")]
    assert len(emergence) and "UNet" not in set(emergence["model"])


def test_with_another_scorer_no_similarity_is_compared(twice, open_view: Open):
    with duckdb.connect(str(min((twice / "snapshots").glob("*.duckdb")))) as db:
        db.execute("UPDATE study SET scorer = 'another'")
    app = open_view("changes", twice)
    assert (
        not app.exception and "CLIP score and every similarity" in shown(app) and not app.dataframe
    )


def test_snapshots_are_compared_by_the_scorer_chosen(two_scorers, tmp_path, open_view: Open):
    folder = shutil.copytree(two_scorers, tmp_path / "scored")
    old = folder / json.loads((folder / "current.json").read_text())["snapshot"]
    publish(folder)
    with duckdb.connect(str(old)) as db:
        db.execute("UPDATE scorer_2.clip_score SET clip_score = clip_score - 0.1")
    without = shutil.copytree(folder, tmp_path / "without")
    with duckdb.connect(str(without / "snapshots" / old.name)) as db:
        db.execute("DROP SCHEMA scorer_2 CASCADE")
    compared = [
        tables(open_view("changes", folder, scorer=name))["What changed by model"]
        for name in ("scenes-clip", "ViT-B-32-openai")
    ]
    assert [table["altered"].sum() for table in compared] == [0, 24]
    app = open_view("changes", without, scorer="ViT-B-32-openai")
    assert not app.exception and "no numbers of this scorer" in shown(app)


def test_one_snapshot_has_nothing_to_compare_with(results, open_view: Open):
    app = open_view("changes", results)
    assert not app.exception
    assert "no earlier snapshot" in shown(app)


def test_an_older_snapshot_that_cannot_be_read_is_said(twice, open_view: Open):
    old = min((twice / "snapshots").glob("*.duckdb"))
    old.write_bytes(b"nothing")
    app = open_view("changes", twice)
    assert not app.exception
    assert "not a readable DuckDB database" in shown(app)
