"""Links that mean harm: every parameter of every view holds what nobody would send; shown as text, or ignored."""

import ast
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from app.analysis import slices
from tests.support.pages import MAIN, VIEWS, Open

SHARED = {
    "prompt",
    "review",
    "step",
    "study",
    "embed",
    "theme",
    "_page",
    "__class__",
    "../x",
    *slices.KEYS,
}

ATTACKS = {
    "markup": "<script>alert(1)</script><img src=x onerror=alert(1)> **b** [c](javascript:alert(1)) :red[x] $x$",
    "odd characters": "\x00\x1b[31m\u202e\ufeff\ufffd\r\nSet-Cookie: a=b",
    "numbers": "999999999999999999999999999999",
    "no number": "nan",
    "SQL": "'; DROP TABLE sample; SELECT * FROM read_text('/etc/passwd'); --",
    "a path": "../../../../etc/passwd",
    "nothing": "",
    "very long": "A" * 20_000,
    "many": ["-1", "0", "1e999", "{{7*7}}", "true", "[1,2]", "a|b", "0", "0", "\ufffd"],
}


def bound_keys(view: str) -> set[str]:
    """The parameters that a view's widgets are bound to, and those of the frame around it."""
    keys = set(SHARED)
    for file in (*(MAIN.parent / "ui").glob("*.py"), MAIN.parent / "views" / f"{view}.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and any(k.arg == "bind" for k in node.keywords):
                keys |= set(_constants(next(k.value for k in node.keywords if k.arg == "key")))
    return keys


CHOOSERS = {
    "checkbox", "multiselect", "number_input", "pills", "radio", "segmented_control", "select_slider", "selectbox",
    "slider", "text_area", "text_input", "toggle",
}  # fmt: skip
UNBOUND = {
    "changed_tag",
    "chosen_review",
    "note_author",
    "note_kind",
    "note_text",
    "reviewer",
    "slice_name",
    None,
}
"""Fields of a form and of a name to save under; `chosen_review` sets the parameter `review` itself."""


def test_every_choice_is_in_the_url() -> None:
    """A link shows what its sender saw: every widget that chooses is bound to a parameter."""
    for file in sorted(MAIN.parent.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            arguments = {k.arg: k.value for k in node.keywords}
            if node.func.attr in CHOOSERS and "bind" not in arguments:
                key = arguments.get("key")
                name = key.value if isinstance(key, ast.Constant) else key
                if file.name == "reader.py":  # a name is asked for in forms only
                    continue
                assert name in UNBOUND, f"{file.name} line {node.lineno}"


def _constants(node: ast.expr) -> list[str]:
    """A key as it is written; of an f-string its text, which is no key but close to one."""
    return [n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str)]  # fmt: skip


def texts_of(app: AppTest) -> str:
    kinds = (app.title, app.subheader, app.markdown, app.caption)
    return "\n".join(str(element.value) for kind in kinds for element in kind)


def share_out(keys: list[str], turn: int) -> dict[str, str | list[str]]:
    """An attack for each parameter; with a turn for each view, those of every view meet all of them."""
    values = list(ATTACKS.values())
    return {key: values[(number + turn) % len(values)] for number, key in enumerate(keys)}


@pytest.mark.parametrize("view", VIEWS)
def test_hostile_parameters(view: str, open_view: Open, results: Path) -> None:
    keys = sorted(bound_keys(view))
    assert len(keys) > len(SHARED)
    before = sorted(path.name for path in results.rglob("*"))
    parameters = share_out(keys, VIEWS.index(view))
    app = open_view(view, results, **parameters)
    assert not app.exception, (parameters, [element.value for element in app.exception])
    assert app.title and not app.get("html")
    shown = texts_of(app)
    for raw in ("<script>", "javascript:alert", "**b**", ":red[x]", "root:x:0"):
        assert raw not in shown, (raw, parameters)
    assert before == sorted(path.name for path in results.rglob("*"))


def test_no_cell_of_a_csv_is_a_formula() -> None:
    """Downloads are opened in spreadsheets, which would run what a prompt says."""
    import csv
    import io

    import pandas as pd

    from app.figures import export
    from app.ui import cards

    texts = [
        "=cmd|' /C calc'!A0",
        "+1+1",
        "-1+1",
        "@SUM(1)",
        "\t=1",
        "\r=1",
        "a=b",
        " =1",
        'ü, "x"',
    ]
    data = pd.DataFrame({"=text": texts, "number": [-0.5] * len(texts)})
    for data_file in (cards.csv(data), export.csv(data)):
        rows = list(csv.reader(io.StringIO(data_file.decode(), newline="")))
        assert rows[0] == ["'=text", "number"]
        assert [row[0] for row in rows[1:]] == [f"'{t}" for t in texts[:5]] + ["'\n=1", *texts[6:]]
        assert {row[1] for row in rows[1:]} == {"-0.5"}
