"""Fixtures of the pipeline's tests: the folder in which tiny pipelines are saved."""

import pytest

from tests.support.families import FOLDERS


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("families")
    FOLDERS.append(folder)
    return folder
