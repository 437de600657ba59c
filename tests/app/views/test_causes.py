"""The page *Causes* for one concept, by the control and by the link."""

from pathlib import Path

from tests.support.pages import Open


def test_one_concept_is_chosen_and_the_link_has_it(open_view: Open, results: Path) -> None:
    app = open_view("causes", results)
    choice = app.selectbox(key="caused")
    name = choice.options[1]
    assert choice.value == "all" and "/" in name
    everything = families(app)
    choice.set_value(name).run()
    assert not app.exception
    assert families(app) == {name.split("/")[0]} < everything
    behind = open_view("causes", results, caused=name)
    assert not behind.exception and behind.selectbox(key="caused").value == name
    assert families(behind) == families(app)
    assert open_view("causes", results, caused="no/such").selectbox(key="caused").value == "all"


def families(app) -> set[str]:
    """Those of the table of when each is decided."""
    tables = [
        table.value for table in app.dataframe if "mean" in table.value and "share" in table.value
    ]
    assert len(tables) == 1
    return set(tables[0]["family"])
