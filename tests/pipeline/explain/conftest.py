"""Fixtures of the tests of tools: the bundled models and their scorer, opened once."""

import pytest
import torch

from pipeline.models import loading
from pipeline.models.scorer import Scorer
from pipeline.study.spec import ScorerSpec
from tests.support.explained import NAMES, spec


@pytest.fixture(scope="package")
def scorer():
    return Scorer(ScorerSpec("data/models/scenes-clip"))


@pytest.fixture(scope="package")
def pipelines():
    return {n: loading.open_pipeline(spec(n), torch.device("cpu")) for n in NAMES}
