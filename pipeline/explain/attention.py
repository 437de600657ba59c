"""Raw attention of image positions to the prompt's words, recorded beside the model's own.

Only `scaled_dot_product_attention` inside an attention module is looked at, with the very queries,
keys and masks that it is given: projections, norms and rotary embeddings are the model's own and are
not computed a second time, and its output is passed on untouched. So one reader serves cross-attention
(Stable Diffusion, PixArt) and the joint softmax of SD3, AuraFlow and FLUX (double and single blocks).
"""

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from pipeline.errors import ModelError

Kind = Literal["cross", "joint", "single", "self", "text"]

TEXT_FIRST = ("Flux", "AuraFlow", "AttnAddedKV", "CogView4", "Qwen")
TEXT_LAST = ("JointAttn",)
BOTH = ("CogView4",)
"""Processors that project text and image by the same weights."""
MOST_HELD = 4_000_000
"""Numbers of queries and keys that may wait at once (16 MB)."""

_UNET_ORDER = {"down": 0, "mid": 1, "up": 2}
_HIDDEN = ("Sliced", "XFormers", "NPU", "XLA", "PAG", "Linear")


@dataclass(frozen=True)
class AttentionLayer:
    """An attention module of a denoiser.

    Attributes:
        name: its path in the denoiser.
        group: "down", "mid", "up", or the third of a transformer's blocks, such as "blocks 0-1".
        kind: "cross" (image queries, text keys), "joint" (image and text in one softmax), "single"
            (the same on an already joined sequence), "self", or "text" (of the text encoder).
        text_first: whether the text stands before the image in a joint sequence.
    """

    name: str
    group: str
    kind: Kind
    module: nn.Module
    text_first: bool = False


def attention_layers(denoiser: nn.Module) -> list[AttentionLayer]:
    """All attention layers of a denoiser, in the order of its modules.

    Raises:
        ModelError: a joint layer's processor is not known, so its text keys cannot be told apart.
    """
    named = [
        (name, module)
        for name, module in denoiser.named_modules()
        if hasattr(module, "processor")
        and (hasattr(module, "to_q") or hasattr(module, "to_qkv_mlp_proj"))
    ]
    blocks = _block_numbers([name for name, _ in named])
    layers = []
    for name, module in named:
        kind = _kind(name, module)
        first = kind in ("joint", "single") and _is_text_first(name, module)
        layers.append(AttentionLayer(name, _group(name, blocks), kind, module, first))
    return layers


def text_layers(denoiser: nn.Module) -> list[AttentionLayer]:
    """The layers through which image positions attend to text; empty if there are none."""
    return [layer for layer in attention_layers(denoiser) if layer.kind != "self"]


def layer_groups(layers: Sequence[AttentionLayer]) -> list[str]:
    """`all` and the groups of the layers, from the input of the denoiser to its output."""
    present = dict.fromkeys(layer.group for layer in layers)
    return ["all", *sorted(present, key=lambda group: _UNET_ORDER.get(group, 0))]


def _kind(name: str, module: Any) -> Kind:
    processor = type(module.processor).__name__
    if getattr(module, "add_k_proj", None) is not None or processor.startswith(BOTH):
        return "joint"
    if "single_transformer_blocks" in name:
        return "single"
    return "cross" if getattr(module, "is_cross_attention", False) else "self"


def _is_text_first(name: str, module: Any) -> bool:
    processor = type(module.processor).__name__.removeprefix("Fused")
    if processor.startswith(TEXT_FIRST):
        return True
    if processor.startswith(TEXT_LAST):
        return False
    raise ModelError(
        f"attention layer {name}: where {processor} keeps the text is not known, so attention to "
        "words cannot be read from this model. Leave out the attention and relevance measures."
    )


def _block_numbers(names: Sequence[str]) -> dict[str, int]:
    """Consecutive numbers of a transformer's blocks: double-stream ones first, then single ones."""
    blocks = dict.fromkeys(".".join(name.split(".")[:2]) for name in names if not _unet_group(name))
    ordered = sorted(blocks, key=lambda block: "single" in block)
    return {block: number for number, block in enumerate(ordered)}


def _unet_group(name: str) -> str:
    return {"down_blocks": "down", "mid_block": "mid", "up_blocks": "up"}.get(
        name.split(".")[0], ""
    )


def _group(name: str, blocks: dict[str, int]) -> str:
    if group := _unet_group(name):
        return group
    number, count = blocks[".".join(name.split(".")[:2])], len(blocks)
    third = min(2, 3 * number // count)
    members = [n for n in range(count) if min(2, 3 * n // count) == third]
    return f"blocks {members[0]}-{members[-1]}"


@dataclass(frozen=True)
class AttentionCall:
    """What one attention layer was given in one call; `text` is the number of text positions."""

    layer: AttentionLayer
    query: Float[Tensor, "b head query d"]
    key: Float[Tensor, "b head key d"]
    value: Float[Tensor, "b head key e"]
    mask: Tensor | None
    scale: float
    text: int

    def weights(self) -> Float[Tensor, "b head query key"]:
        """The softmax over all keys, in float32; sums to 1."""
        return attention_weights(self.query, self.key, self.mask, self.scale)

    def image_positions(self) -> slice:
        """Where the image stands among the queries."""
        if self.layer.kind in ("cross", "self", "text"):
            return slice(None)
        return _image_part(self.query.shape[2], self._query_text(), self.layer.text_first)

    def text_positions(self) -> slice:
        """Where the text stands among the keys."""
        if self.layer.kind == "cross":
            return slice(None)
        length = self.key.shape[2]
        return slice(0, self.text) if self.layer.text_first else slice(length - self.text, length)

    def _query_text(self) -> int:
        """Text among the queries: none where text is an added key only (AttnAddedKV)."""
        return self.text if self.query.shape[2] == self.key.shape[2] else 0


def _image_part(length: int, text: int, text_first: bool) -> slice:
    return slice(text, length) if text_first else slice(0, length - text)


def attention_weights(
    query: Float[Tensor, "b head query d"],
    key: Float[Tensor, "b head key d"],
    mask: Tensor | None = None,
    scale: float | None = None,
) -> Float[Tensor, "b head query key"]:
    """softmax(q k^T scale + mask), as `scaled_dot_product_attention` has it; sums to 1 over keys.

    Source: Vaswani et al. 2017 (arXiv 1706.03762), equation 1.
    """
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    logits = (query.float() * scale) @ key.float().transpose(-1, -2)
    if mask is not None:
        bias = (
            logits.new_zeros(()).masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else mask
        )
        logits = logits + bias
    return logits.softmax(-1)


Handle = Callable[[AttentionCall, Callable[[], Tensor]], Tensor]
"""Gets a call and a function that computes the model's own output; returns the output to use."""


class AttentionTap:
    """Context manager that shows each attention call of some layers to a function.

    The tap looks into a layer only while that layer runs, on the thread that entered it. With `handle`
    returning the model's own output the denoiser computes what it computes without a tap, to the bit.

    `torch.nn.functional.scaled_dot_product_attention` is another function while a tap is there. A
    TorchFunctionMode would see every operation of a layer: with nothing recorded, that alone made a
    run of the bundled transformer 8 % slower (0.353 s against 0.328 s of CPU time, 10 steps).
    """

    def __init__(self, layers: Sequence[AttentionLayer], handle: Handle) -> None:
        self.layers = layers
        self.handle = handle
        self.active = True
        self.text = 0
        self._hooks = ExitStack()
        self._thread = 0
        self._open: list[tuple[AttentionLayer, int]] = []

    def __enter__(self) -> "AttentionTap":
        for layer in self.layers:
            refuse_hidden_weights(layer)
            before = layer.module.register_forward_pre_hook(self._opener(layer), with_kwargs=True)
            after = layer.module.register_forward_hook(self._close, always_call=True)
            self._hooks.callback(before.remove)
            self._hooks.callback(after.remove)
        self._thread = threading.get_ident()
        self._hooks.enter_context(_there(self))
        return self

    def __exit__(self, *_: object) -> None:
        self._hooks.close()
        self._open.clear()

    @property
    def is_open(self) -> bool:
        """Whether a layer runs that is to be looked into, on this thread."""
        return bool(self._open) and self._thread == threading.get_ident()

    def see(
        self, model_output: Callable[..., Tensor], args: tuple, kwargs: dict[str, Any]
    ) -> Tensor:
        """Shows a call of the layer that runs; `model_output` computes the model's output. Calls that `handle` makes are not seen."""
        layer, text = self._open.pop()
        try:
            call = _read_call(layer, text, *args, **kwargs)
            return self.handle(call, lambda: model_output(*args, **kwargs))
        finally:
            self._open.append((layer, text))

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Looks away for a while, as when an explanation replays the denoiser."""
        before, self.active = self.active, False
        try:
            yield
        finally:
            self.active = before

    def _opener(self, layer: AttentionLayer) -> Callable[..., None]:
        def open_(_module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
            text = kwargs.get("encoder_hidden_states", args[1] if len(args) > 1 else None)
            if layer.kind in ("cross", "joint") and text is not None:
                self.text = text.shape[1]
            if self.active:
                self._open.append((layer, self.text))

        return open_

    def _close(self, *_: object) -> None:
        if self._open:
            self._open.pop()


_TAPS: list[AttentionTap] = []
_TAPS_LOCK = threading.Lock()
_own_attention: Callable[..., Tensor] = F.scaled_dot_product_attention


@contextmanager
def _there(tap: AttentionTap) -> Iterator[None]:
    """Has PyTorch's attention pass by a tap; the last one to go puts PyTorch's own back."""
    global _own_attention
    with _TAPS_LOCK:
        if not _TAPS:
            _own_attention, F.scaled_dot_product_attention = (
                F.scaled_dot_product_attention,
                _attention,
            )
        _TAPS.append(tap)
    try:
        yield
    finally:
        with _TAPS_LOCK:
            _TAPS.remove(tap)
            if not _TAPS:
                F.scaled_dot_product_attention = _own_attention


def _attention(*args: Any, **kwargs: Any) -> Tensor:
    attention = _own_attention
    for tap in [tap for tap in _TAPS if tap.is_open]:
        attention = _seen_by(tap, attention)
    return attention(*args, **kwargs)


def _seen_by(tap: AttentionTap, model_output: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda *args, **kwargs: tap.see(model_output, args, kwargs)


def _read_call(
    layer: AttentionLayer,
    text: int,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> AttentionCall:
    """The arguments of `scaled_dot_product_attention`, by their names there."""
    if is_causal:
        square = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool, device=query.device)
        attn_mask = square.tril()
    if enable_gqa and key.shape[1] != query.shape[1]:
        repeat = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(repeat, 1), value.repeat_interleave(repeat, 1)
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    return AttentionCall(layer, query, key, value, attn_mask, scale, text)


def refuse_hidden_weights(layer: AttentionLayer) -> None:
    """Raises ModelError for a processor whose attention never passes through PyTorch's own."""
    name = type(getattr(layer.module, "processor", None)).__name__
    if name.startswith(_HIDDEN) or name == "AttnProcessor":
        raise ModelError(
            f"attention layer {layer.name}: {name} does not use PyTorch's attention, so its weights "
            "cannot be read. Use the default processor (pipeline.unet.set_default_attn_processor(), "
            "no attention slicing, no xformers), or leave out attention and relevance."
        )


def grid_of(positions: int, height: int, width: int) -> tuple[int, int]:
    """The grid (rows, columns) of image positions on latents of height x width.

    Raises:
        ModelError: no whole factor of the latents gives so many positions.
    """
    for factor in range(1, max(height, width) + 1):
        rows, columns = math.ceil(height / factor), math.ceil(width / factor)
        if rows * columns == positions:
            return rows, columns
        if rows * columns < positions:
            break
    raise ModelError(f"{positions} image positions fit no grid on latents of {height} x {width}.")


@dataclass(frozen=True)
class WordAttention:
    """Attention to words at one step, for b items.

    Attributes:
        mass: per group, each word's share of the attention on words; the last column is the special
            tokens' share of the attention on text. NaN for a word that the item does not have.
        entropy: per group, of the word's map over space: 0 = one point, 1 = even. Same columns.
        maps: mean over heads and layers on the finest grid; special tokens last.
    """

    groups: tuple[str, ...]
    mass: Float[Tensor, "b group word"]
    entropy: Float[Tensor, "b group word"]
    maps: Float[Tensor, "b word h w"]


@dataclass(frozen=True)
class _Layer:
    """One layer's image queries and all keys, of the items that are looked at."""

    group: str
    query: Float[Tensor, "b head query d"]
    key: Float[Tensor, "b head key d"]
    mask: Tensor | None
    scale: float
    text: slice

    @classmethod
    def of(cls, call: AttentionCall, rows: slice | Tensor) -> "_Layer":
        """The part of a call that belongs to some rows of the batch."""
        image, mask = call.image_positions(), call.mask
        if mask is not None and mask.ndim == 4:
            mask = mask[rows] if mask.shape[0] > 1 else mask
            mask = mask[:, :, image] if mask.shape[2] > 1 else mask
        query, key = call.query[rows][:, :, image], call.key[rows]
        return cls(call.layer.group, query, key, mask, call.scale, call.text_positions())

    def shape(self) -> tuple:
        """Layers that are alike in this share their operations; a masked one stays alone."""
        masked = None if self.mask is None else id(self)
        bounds = (self.text.start, self.text.stop)
        return *self.query.shape, *self.key.shape, self.scale, bounds, masked


@dataclass
class WordAccumulator:
    """Adds up attention per word over the layers of one denoiser call.

    `average` (pipeline/models/words.py, `word_average`) has two columns more than there are words: special
    tokens and all text.
    """

    average: Float[Tensor, "b token column"]
    sums: dict[tuple[str, int], Tensor] = field(default_factory=dict)
    counts: dict[tuple[str, int], int] = field(default_factory=dict)
    _waiting: dict[tuple, list[_Layer]] = field(default_factory=dict)
    _waiting_values: int = 0

    def add(self, call: AttentionCall, rows: slice | Tensor) -> None:
        """Adds one layer's attention, for the rows of the items that `average` describes.

        Small layers of one shape wait for each other and share their operations; on the bundled
        UNet with one image that takes a third off the cost of looking.
        """
        layer = _Layer.of(call, rows)
        self._waiting.setdefault(layer.shape(), []).append(layer)
        self._waiting_values += layer.query.numel() + layer.key.numel()
        if self._waiting_values > MOST_HELD or layer.mask is not None:
            self._add_waiting()

    def _add_waiting(self) -> None:
        for layers in self._waiting.values():
            first = layers[0]
            query = torch.stack([layer.query for layer in layers])
            key = torch.stack([layer.key for layer in layers])
            weights = attention_weights(query, key, first.mask, first.scale)
            per_word = weights[..., first.text].mean(2) @ self.average
            for layer, words in zip(layers, per_word, strict=True):
                group = (layer.group, words.shape[1])
                self.sums[group] = self.sums[group] + words if group in self.sums else words
                self.counts[group] = self.counts.get(group, 0) + 1
        self._waiting, self._waiting_values = {}, 0

    def finish(self, groups: Sequence[str], height: int, width: int) -> WordAttention:
        """Brings the layers to one grid and reduces them to shares, entropies and maps."""
        self._add_waiting()
        grids = {n: grid_of(n, height, width) for _, n in self.sums}
        finest = grids[max(grids)]
        members = {g: [key for key in self.sums if g in ("all", key[0])] for g in groups}
        brought = {
            key: bring_to_grid(total, grids[key[1]], finest) for key, total in self.sums.items()
        }
        maps, means = [], []
        for keys in members.values():
            count = sum(self.counts[key] for key in keys)
            maps.append(torch.stack([brought[key] for key in keys]).sum(0) / count)
            means.append(torch.stack([self.sums[key].mean(1) for key in keys]).sum(0) / count)
        mass = _shares(torch.stack(means, 1))
        stacked = torch.stack(maps, 1)[:, :, :-1]
        return WordAttention(tuple(groups), mass, spatial_entropy(stacked), stacked[:, 0])


def bring_to_grid(
    total: Float[Tensor, "b position k"], grid: tuple[int, int], finest: tuple[int, int]
) -> Float[Tensor, "b k h w"]:
    """Values per position as maps on another grid, bilinear."""
    maps = total.transpose(1, 2).unflatten(2, grid)
    if grid == finest:
        return maps
    return F.interpolate(maps, finest, mode="bilinear", align_corners=False)


def _shares(mean: Float[Tensor, "b group column"]) -> Float[Tensor, "b group word"]:
    words, special, text = mean[..., :-2], mean[..., -2:-1], mean[..., -1:]
    total = words.sum(-1, keepdim=True)
    shares = torch.where(words > 0, words / total.clamp(min=1e-12), torch.nan)
    return torch.cat([shares, special / text.clamp(min=1e-12)], -1)


def spatial_entropy(maps: Float[Tensor, "*b h w"]) -> Float[Tensor, "*b"]:
    """Entropy of each map as a distribution over space, divided by that of an even one.

    Returns: 0 (all in one position) to 1 (even); NaN for a map without any mass.
    """
    flat = maps.flatten(-2).clamp(min=0)
    total = flat.sum(-1, keepdim=True)
    share = flat / total
    entropy = -torch.special.xlogy(share, share).sum(-1)
    return entropy / math.log(max(2, flat.shape[-1]))
