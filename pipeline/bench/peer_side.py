"""Word maps of a peer beside ours, and what each costs, in one process: `pipeline.bench.peers` runs it in the peer's environment.

Both look at the same layers, heads and steps of the same run of the pipeline, so that what differs is the reading alone.
"""

from __future__ import annotations

import argparse
import json
import statistics
import string
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.bench.tools import ROOT, Setting, load
from pipeline.diffusion.watch import StepView
from pipeline.explain.attention import AttentionLayer, text_layers
from pipeline.explain.recorders import AttentionRecorder, batch_layout
from pipeline.models.loading import denoiser_of
from pipeline.models.words import split_words

STEPS = 10
Maps = Mapping[str, Float[Tensor, "h w"]]
"""Word -> its map, summed over the steps that were looked at."""


@dataclass(frozen=True)
class Comparison:
    """A peer and Stepscope on one model.

    Attributes:
        model: its name.
        steps: which steps were looked at: "every step" or "last step".
        layers: how many.
        words: how many words of the prompt were compared.
        spearman: rank correlation over positions of the two maps of a word in one layer (the mean over its heads), on
            the layer's own grid; the lowest of all words and layers; in [-1, 1].
        all_layers: the same of the maps over all layers, as each tool gives them; the lowest of all words.
        difference: largest difference of a layer's maps, each divided by its sum.
        plain: CPU seconds of a run of the pipeline alone, on one thread; the median.
        peer, ours: CPU time of a run with the peer's maps, and with ours, over that of the plain run beside it; medians of
            these ratios, so that other work on the machine counts little.
        same_images: whether the images of the peer's run are the plain pipeline's to 1e-4.
    """

    model: str
    steps: str
    layers: int
    words: int
    spearman: float
    all_layers: float
    difference: float
    plain: float
    peer: float
    ours: float
    same_images: bool


@dataclass(frozen=True)
class Reading:
    """What a peer gives of a run: the image, its maps over all layers, and on request those of one layer."""

    image: Tensor
    maps: Maps
    of_layer: Callable[[AttentionLayer], Maps]


class WordMaps:
    """Observer that sums our maps of words over steps, read from some layers.

    Source: docs/methods.md, "Attention"; the sum over steps is that of Tang et al. 2023 (arXiv 2210.04885).
    """

    def __init__(self, setting: Setting, layers: Sequence[AttentionLayer], steps: range) -> None:
        plan = {step: [0] for step in steps}
        self._recorder = AttentionRecorder(setting.batch(), plan, layers)
        self.maps: dict[str, Tensor] = {}

    def __enter__(self) -> WordMaps:
        self._recorder.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._recorder.__exit__(*error)

    def on_step(self, view: StepView) -> None:
        """Add what was seen at this step."""
        for words in self._recorder.take(view).values():
            for word, values in words.named().items():
                self.maps[word] = self.maps[word] + values if word in self.maps else values
        self._recorder.expect(view.step + 1)

    def columns(self, item: int) -> dict[str, Any]:
        """Nothing goes to a shard."""
        return {}


Peer = Callable[[Setting, str], Reading]
"""(setting, "every step" or "last step") -> what the peer gives, of the words that come once in the prompt."""


def single_words(text: str) -> list[str]:
    """The words that a prompt has once; of repeated ones DAAM gives one map for all."""
    words = split_words(text)
    return [word for word, count in Counter(words).items() if count == 1]


def daam(setting: Setting, steps: str) -> Reading:
    """DAAM's maps: cross-attention of the down and up blocks, averaged over layers and heads, summed over steps.

    It upsamples coarse layers bicubically and cuts each head's map at zero, where ours are upsampled bilinearly. Three
    things are set from outside, for a model that is not Stable Diffusion's size: the length of the text window, the number
    of positions of the finest map, and a folder for what it doesn't save. spaCy, which only its sentence parser uses, is
    replaced by an empty module.

    Source: Tang et al. 2023 (arXiv 2210.04885); the package `daam` 0.2.0.
    """
    _without_spacy()
    from daam import trace

    pipeline = setting.pipeline
    with tempfile.TemporaryDirectory() as folder:
        traced = trace(pipeline, data_dir=folder)
    traced.latent_hw = pipeline.unet.config.sample_size**2
    hooks = [hook for hook in traced.module if hasattr(hook, "context_size")]
    for hook in hooks:
        hook.context_size, hook.latent_hw = pipeline.tokenizer.model_max_length, traced.latent_hw
    with traced:
        image = setting.run()
        maps = _daam_words(traced, setting)

    def of_layer(layer: AttentionLayer) -> Maps:
        index = next(n for n, hook in enumerate(hooks) if hook.module is layer.module)
        traced.latent_hw = (
            next(m.shape[-1] for (_, n, _), m in traced.all_heat_maps if n == index) ** 2
        )
        return _daam_words(traced, setting, layer_idx=index)

    return Reading(image, maps, of_layer)


def _daam_words(traced: Any, setting: Setting, **chosen: int) -> Maps:
    heat_map = traced.compute_global_heat_map(setting.prompts[0].text, **chosen)
    words = single_words(setting.prompts[0].text)
    return {word: heat_map.compute_word_heat_map(word).heatmap for word in words}


def _without_spacy() -> None:
    spacy, tokens = ModuleType("spacy"), ModuleType("spacy.tokens")
    tokens.Token = object  # type: ignore[attr-defined]
    spacy.tokens = tokens  # type: ignore[attr-defined]
    sys.modules.setdefault("spacy", spacy)
    sys.modules.setdefault("spacy.tokens", tokens)


def daam_layers(setting: Setting) -> list[AttentionLayer]:
    """The layers that DAAM looks at: those of the down and up blocks."""
    layers = text_layers(denoiser_of(setting.pipeline))
    return [layer for layer in layers if layer.group in ("down", "up")]


def attention_map_diffusers(setting: Setting, steps: str) -> Reading:
    """Its image-to-text attention of the double-stream blocks, averaged over heads, in its own fast mode.

    It gives a map for each text position; which positions are which word is ours to say, for both.

    Source: Baek and Baek, the package `attention_map_diffusers` 1.0.0 (doi 10.5281/zenodo.18304023).
    """
    from attention_map_diffusers import AttentionCapture

    capture = AttentionCapture(
        setting.pipeline,
        relations="image->text",
        layers=[".transformer_blocks"],
        timesteps="all" if steps == "every step" else "last",
    )
    with capture:
        image = setting.run()
    layers: dict[str, Tensor] = {}
    for record in capture.compute().records:  # the conditional half is the last item
        values = record.data[-1, 0].float()
        layers[record.layer_id] = layers.get(record.layer_id, torch.zeros(())) + values
    pooled = torch.stack(list(layers.values())).mean(0)
    return Reading(
        image,
        _by_word(setting, pooled),
        lambda layer: _by_word(setting, layers[f"transformer.{layer.name}"]),
    )


def _by_word(setting: Setting, tokens: Float[Tensor, "query token"]) -> Maps:
    side = round(tokens.shape[0] ** 0.5)
    average = batch_layout(setting.batch(), tokens.shape[1]).average[0]
    maps = (tokens @ average).T.unflatten(1, (side, side))
    words = split_words(setting.prompts[0].text)
    return {word: maps[words.index(word)] for word in single_words(setting.prompts[0].text)}


def double_layers(setting: Setting) -> list[AttentionLayer]:
    """The layers of the double-stream blocks."""
    layers = text_layers(denoiser_of(setting.pipeline))
    return [layer for layer in layers if layer.kind == "joint"]


def compare(
    setting: Setting,
    name: str,
    peer: Peer,
    layers: Sequence[AttentionLayer],
    steps: str,
    repeats: int,
) -> Comparison:
    """Runs the pipeline alone, with ours and with the peer, in turn, after one run of each to warm up."""
    times: dict[str, list[float]] = {"plain": [], "ours": [], "peer": []}
    total = setting.batch().total_steps
    looked_at = range(total) if steps == "every step" else range(total - 1, total)
    for _ in range(repeats + 1):
        plain = _timed(times["plain"], setting.run)
        word_maps = WordMaps(setting, layers, looked_at)
        _timed(times["ours"], setting.run, [word_maps])
        theirs = _timed(times["peer"], peer, setting, steps)
    single = [WordMaps(setting, [layer], looked_at) for layer in layers]
    setting.run(single)
    pairs = [
        (ours.maps[word], values)
        for layer, ours in zip(layers, single, strict=True)
        for word, values in theirs.of_layer(layer).items()
    ]
    return Comparison(
        name,
        steps,
        len(layers),
        len(theirs.maps),
        min(spearman(ours, values) for ours, values in pairs),
        min(spearman(word_maps.maps[word], values) for word, values in theirs.maps.items()),
        max(float((a / a.sum() - b / b.sum()).abs().max()) for a, b in pairs),
        same_images=bool(torch.allclose(theirs.image, plain, atol=1e-4)),
        **_overheads(times),
    )


def _overheads(times: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The plain time, and the others over it; the first round only warms up."""
    plain = times["plain"][1:]
    ratios = {
        who: statistics.median(t / p for t, p in zip(times[who][1:], plain, strict=True))
        for who in ("peer", "ours")
    }
    return {"plain": statistics.median(plain), **ratios}


def _timed(seconds: list[float], act: Callable[..., Any], *arguments: Any) -> Any:
    started = time.process_time()
    result = act(*arguments)
    seconds.append(time.process_time() - started)
    return result


def spearman(a: Float[Tensor, "h w"], b: Float[Tensor, "h w"]) -> float:
    """Rank correlation of two maps over their positions, in [-1, 1]."""
    from scipy.stats import spearmanr

    return float(spearmanr(a.flatten().numpy(), b.flatten().numpy()).statistic)


def flux_like(folder: Path, steps: int) -> Setting:
    """A FLUX pipeline with random weights, opened as a user's folder is: 2 double-stream blocks, 2 single ones, 4 heads of 32."""
    target = folder / "flux-like"
    torch.manual_seed(0)
    _flux_pipeline().save_pretrained(target, safe_serialization=True)
    scorer = ROOT / "data" / "models" / "scenes-clip"
    return load(folder, "flux-like", steps, scorer, {"height": 64, "width": 64})


def _flux_pipeline() -> Any:
    import diffusers
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, T5Config, T5EncoderModel

    clip = CLIPTokenizer.from_pretrained(ROOT / "data" / "models" / "scenes-unet" / "tokenizer")
    ids = {f"{name}_token_id": getattr(clip, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    text = CLIPTextConfig(
        vocab_size=len(clip), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=clip.model_max_length, **ids,
    )  # fmt: skip
    tokenizer = _t5_tokenizer()
    t5 = T5Config(
        vocab_size=len(tokenizer), d_model=64, d_kv=32, d_ff=128, num_layers=1, num_heads=2
    )
    return diffusers.FluxPipeline(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        vae=diffusers.AutoencoderKL(
            block_out_channels=(16, 16), down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2, latent_channels=4, norm_num_groups=4, sample_size=64,
            use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.1,
        ),
        text_encoder=CLIPTextModel(text),
        tokenizer=clip,
        text_encoder_2=T5EncoderModel(t5),
        tokenizer_2=tokenizer,
        transformer=diffusers.FluxTransformer2DModel(
            patch_size=1, in_channels=16, num_layers=2, num_single_layers=2, attention_head_dim=32,
            num_attention_heads=4, joint_attention_dim=64, pooled_projection_dim=64, axes_dims_rope=(8, 12, 12),
            guidance_embeds=True,
        ),
    )  # fmt: skip


def _t5_tokenizer() -> Any:
    """Words of the benchmark's prompt, and letters for any other."""
    from transformers import T5Tokenizer

    from pipeline.bench.tools import TEXT

    vocab = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    vocab += [(f"▁{word}", -1.0) for word in dict.fromkeys(split_words(TEXT))]
    vocab += [(letter, -3.0) for letter in string.ascii_lowercase + string.punctuation]
    return T5Tokenizer(vocab=vocab, extra_ids=0, model_max_length=512)


def run(name: str, repeats: int) -> list[Comparison]:
    """All comparisons of a peer, by the name that `pipeline.bench.peers` gives it."""
    torch.set_num_threads(1)
    bundled = ROOT / "data" / "models"
    if name == "daam":
        setting = load(bundled, "scenes-unet", STEPS)
        return [compare(setting, "scenes-unet", daam, daam_layers(setting), "every step", repeats)]
    with tempfile.TemporaryDirectory() as folder:
        settings = {
            "scenes-dit": load(bundled, "scenes-dit", STEPS),
            "flux-like": flux_like(Path(folder), STEPS),
        }
        return [
            compare(setting, model, attention_map_diffusers, double_layers(setting), steps, repeats)
            for model, setting in settings.items()
            for steps in ("every step", "last step")
        ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the comparisons of a peer as a line of JSON."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.bench.peer_side", description=__doc__)
    parser.add_argument("peer", choices=("daam", "attention-map-diffusers"))
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args(arguments)
    print(json.dumps([asdict(measured) for measured in run(options.peer, options.repeats)]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
