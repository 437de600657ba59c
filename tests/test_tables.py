"""Tables of text: columns are aligned, and no cell can break its table."""

import pytest

from pipeline.tables import markdown_table, terminal_table


def test_text_starts_at_the_left_and_numbers_end_at_the_right():
    assert terminal_table(["model", "n", ""], [("unet", 5, "a\nnote"), ("m", 10_000, "")], "<><") == (
        "model      n\n"
        "unet       5  a note\n"
        "m      10000"
    )  # fmt: skip


def test_columns_without_names_have_no_head():
    assert terminal_table(["", ""], [("clip_score", "0.1"), ("seed", "12")]) == (
        "clip_score  0.1\nseed         12"
    )


def test_a_table_without_rows_is_its_head():
    assert terminal_table(["model", "n"], []) == "model  n"
    assert terminal_table(["", ""], []) == ""


def test_a_cell_cannot_break_its_markdown_table():
    assert markdown_table(["a", "b"], [("x|y", "1\n2")]) == "| a | b |\n|---|---|\n| x\\|y | 1 2 |"


@pytest.mark.parametrize("table", [terminal_table, markdown_table])
def test_rows_of_other_lengths_are_refused(table):
    with pytest.raises(ValueError, match="cells|argument"):
        table(["a", "b"], [("x",)])
