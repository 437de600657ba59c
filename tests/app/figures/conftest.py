"""A study that has all that a figure can show."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def everything(altered: Callable[..., Path]) -> Path:
    """The study with all that a figure can show: schedules, gammas, LIME, relevance, word maps, a training run."""
    return altered(
        "UPDATE model SET source = 'm', revision = 'r', schedule = 'uniform' WHERE model_id = 1",
        "UPDATE model SET source = 'm', revision = 'r', schedule = 'late', gamma = 60 WHERE model_id = 2",
        "UPDATE model SET source = 'm', revision = 'r', schedule = 'late', gamma = 10 WHERE model_id = 3",
        "UPDATE model SET run = 'run', training_step = 1000 * model_id WHERE model_id <= 2",
        "UPDATE explanation SET method = 'lime' WHERE method = 'random'",
        "UPDATE faithfulness SET method = 'lime' WHERE method = 'random'",
        "UPDATE agreement SET method_b = 'lime' WHERE method_b = 'random'",
        "INSERT INTO token_attention SELECT sample_id, model_id, prompt_id, word_index, word, role, "
        "'relevance', layer_group, steps, mass, list_transform(steps, lambda s: ((s + word_index) % 5)::FLOAT / 5), "
        "NULL FROM token_attention WHERE word_index >= 0",
        "INSERT INTO explanation SELECT e.sample_id, e.step, 'relevance', t.word, e.height, e.width, e.low, "
        "e.high, e.map FROM explanation e JOIN (SELECT DISTINCT sample_id, word FROM token_attention WHERE "
        "word_index >= 0) t USING (sample_id) WHERE e.method = 'df-cam'",
    )
