"""A captured call is repeated as it was made."""

from __future__ import annotations

import pytest

from pipeline.models import loading
from pipeline.study.spec import Measures
from tests.support.families import pipeline_of, prompts_of, spec, watch


@pytest.mark.long
def test_latents_are_replayed_in_the_captured_memory_order(root):
    """FLUX.2 hands over latents whose channels lie apart in memory; in float16 its prediction depends on that."""
    pipeline, strides = pipeline_of("flux2"), set()
    hook = loading.denoiser_of(pipeline).register_forward_pre_hook(
        lambda module, args, kwargs: strides.add(kwargs["hidden_states"].stride()), with_kwargs=True
    )
    with hook:
        watch("flux2", pipeline, spec("flux2", steps=2), prompts_of("flux2"), Measures())
    ((_, token, channel),) = strides
    assert token < channel
