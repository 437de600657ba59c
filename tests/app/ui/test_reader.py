"""Authors of reviews and notes: the login's name where there is a login, and no other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from streamlit import config
from streamlit.testing.v1 import AppTest

from app.analysis import reviews
from tests.support.pages import MAIN, at

ADA = {"is_logged_in": True, "name": "Ada Lovelace", "email": "ada@example.org"}


@pytest.fixture
def served(results_copy: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("sys.argv", ["app/main.py", str(results_copy)])
    return results_copy


@pytest.fixture
def behind_a_proxy() -> Iterator[None]:
    """The proxy's headers say who reads."""
    before = config.get_option("server.trustedUserHeaders")
    config.set_option("server.trustedUserHeaders", {"X-User": "email"})
    yield
    config.set_option("server.trustedUserHeaders", before)


def at_review(user: dict[str, object], **parameters: str) -> AppTest:
    app = at(MAIN)
    app.user = user
    for key, value in parameters.items():
        app.query_params[key] = value
    app.switch_page("views/review.py").run()
    assert not app.exception, [each.value for each in app.exception]
    return app


def asked_for(app: AppTest) -> set[str | None]:
    """The fields for a name."""
    return {each.key for each in app.text_input} & {"reviewer", "note_author"}


def save(app: AppTest) -> None:
    next(t for t in app.text_input if t.label == "Question").set_value("May it go live?")
    next(b for b in app.button if b.label == "Save the review").click().run()
    assert not app.exception and not app.error


def test_a_login_signs_reviews_and_notes(served: Path) -> None:
    app = at_review(ADA, reviewer="Mallory", note_author="Mallory")
    assert not asked_for(app)
    assert "Signed as Ada Lovelace (ada@example.org)" in [each.value for each in app.text]
    save(app)
    store = served / "reviews.sqlite"
    kept = reviews.all_reviews(store)[0]
    assert kept.author == "Ada Lovelace (ada@example.org)"

    bob = at_review({**ADA, "name": " Bob ", "email": "bob@example.org"}, review=kept.review_id)
    assert not asked_for(bob)
    bob.text_area[0].set_value("Seen.")
    next(b for b in bob.button if b.label == "Add").click().run()
    assert [note.author for note in reviews.notes_of(store, kept.review_id)] == ["Bob (bob@example.org)"]  # fmt: skip


@pytest.mark.parametrize(
    ("user", "name"),
    [
        ({"name": "Ada"}, "Ada"),
        ({"email": "ada@example.org"}, "ada@example.org"),
        ({"name": None, "email": 7, "sub": "4711"}, "4711"),
        ({"name": "A" * 10_000}, "A" * reviews.LONGEST["author"]),
        ({"name": "**Ada** <b>x</b>"}, "**Ada** <b>x</b>"),
    ],
)
def test_what_a_login_may_say(served: Path, user: dict[str, object], name: str) -> None:
    app = at_review({"is_logged_in": True, **user})
    assert f"Signed as {name}" in [each.value for each in app.text]
    assert not asked_for(app)
    assert all("Ada" not in each.value for each in app.markdown)


@pytest.mark.usefixtures("behind_a_proxy")
def test_a_proxys_header_signs(served: Path) -> None:
    app = at_review({"email": "ada@example.org"})
    save(app)
    assert [each.author for each in reviews.all_reviews(served / "reviews.sqlite")] == [
        "ada@example.org"
    ]


@pytest.mark.parametrize("user", [{}, {"email": "test@example.com"}, {"is_logged_in": False, **{"name": "Ada"}}])  # fmt: skip
def test_without_a_login_a_name_is_asked_for(served: Path, user: dict[str, object]) -> None:
    app = at_review(user)
    assert asked_for(app) == {"reviewer"}
    assert not any("Signed as" in each.value for each in app.text)
