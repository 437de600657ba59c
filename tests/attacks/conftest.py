"""What attacks on pages share with the tests of pages."""

from tests.support.pages import open_view

__all__ = ["open_view"]
