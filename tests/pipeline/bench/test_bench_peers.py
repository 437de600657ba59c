"""The peers' benchmark: our side against an independent reading, and a peer that cannot be had is a line of the table."""

import sys
from pathlib import Path

import pytest
import torch.nn.functional as F

from pipeline.bench import peer_side
from pipeline.bench.peers import PEERS, Peer, PeerError, compare, row, said, skipped, table
from pipeline.bench.tools import load
from pipeline.explain.attention import AttentionTap
from pipeline.models.loading import denoiser_of
from pipeline.models.words import clip_layout, split_words

pytestmark = pytest.mark.long

MODELS = Path("data/models")
FOUND = {
    "model": "m", "steps": "every step", "layers": 4, "words": 6, "spearman": 0.999, "all_layers": 0.98, "difference": 1e-6,
    "plain": 1.0, "peer": 1.5, "ours": 1.1, "same_images": True,
}  # fmt: skip


@pytest.fixture(scope="module")
def setting():
    return load(MODELS, "scenes-unet", 2)


def by_the_equation(setting, steps):
    """softmax(q k^T / sqrt d) of the conditional half, over heads and steps: the definition, layer by layer."""
    sums = {}

    def look(call, plain_call):
        query, key = call.query[-1], call.key[-1]
        weights = (query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5).softmax(-1).mean(0)
        grid = weights.T.unflatten(1, (round(weights.shape[0] ** 0.5),) * 2)
        sums[call.layer.name] = sums.get(call.layer.name, 0) + grid
        return plain_call()

    def named(tokens):
        text = setting.prompts[0].text
        layout, words = clip_layout(setting.pipeline, text, len(tokens)), split_words(text)
        return {w: tokens[layout == words.index(w)].mean(0) for w in peer_side.single_words(text)}

    with AttentionTap(peer_side.daam_layers(setting), look):
        image = setting.run()
    side = max(grid.shape[-1] for grid in sums.values())
    fine = [F.interpolate(grid[None], (side, side), mode="bilinear")[0] for grid in sums.values()]
    return peer_side.Reading(image, named(sum(fine)), lambda layer: named(sums[layer.name]))


def test_our_maps_are_those_of_the_definition(setting):
    layers = peer_side.daam_layers(setting)
    comparison = peer_side.compare(setting, "scenes-unet", by_the_equation, layers, "every step", 1)
    assert comparison.same_images and comparison.layers == len(layers) == 6
    assert comparison.words == len(set(split_words(setting.prompts[0].text)) - {"a"})
    assert (
        comparison.spearman > 0.999
        and comparison.all_layers > 0.999
        and comparison.difference < 1e-5
    )
    assert min(comparison.plain, comparison.peer, comparison.ours) > 0


def test_the_layers_of_each_peer(setting):
    assert {layer.group for layer in peer_side.daam_layers(setting)} == {"down", "up"}
    assert not [m for m in denoiser_of(setting.pipeline).modules() if m._forward_hooks]


def test_a_flux_like_model_has_double_and_single_blocks(tmp_path):
    setting = peer_side.flux_like(tmp_path, 1)
    layers = peer_side.double_layers(setting)
    assert len(layers) == 2 and all(layer.text_first for layer in layers)
    observer = peer_side.WordMaps(setting, layers, range(1))
    setting.run([observer])
    assert set(observer.maps) >= set(peer_side.single_words(setting.prompts[0].text))
    assert all(values.shape == (16, 16) for values in observer.maps.values())


def test_a_row_is_met_by_the_same_maps_at_a_lower_cost():
    cells, met = row(PEERS[0], FOUND)
    assert met and cells[-1] == "met" and "0.9990 (6 words)" in cells and "1.10x" in cells
    for change in ({"spearman": 0.98}, {"ours": 1.6}):
        cells, met = row(PEERS[0], FOUND | change)
        assert not met and cells[-1] == "**not met**"


def test_a_peer_that_cannot_be_installed_is_a_line_that_says_so(tmp_path):
    peer = Peer("daam", "./no-such-package", alone=True)
    with pytest.raises(PeerError, match="no-such-package") as error:
        compare(peer, 1, tmp_path)
    text = table([skipped(peer, str(error.value))])
    assert "| ./no-such-package | skipped: " in text


def test_a_peer_that_breaks_is_a_line_that_says_so():
    """What Python says last is the reason."""
    with pytest.raises(PeerError, match="No module named 'no_such_peer'"):
        said([sys.executable, "-c", "import no_such_peer"], 60)
    with pytest.raises(PeerError, match="timed out after 0.01 seconds"):
        said([sys.executable, "-c", "import time; time.sleep(9)"], 0.01)
