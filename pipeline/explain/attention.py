"""Raw attention of image positions to the prompt's words, recorded beside the model's own.

Only `scaled_dot_product_attention` inside an attention module is looked at, with the very queries,
keys and masks that it is given: projections, norms and rotary embeddings are the model's own and are
not computed a second time, and its output is passed on untouched. So one reader serves cross-attention
(Stable Diffusion, PixArt) and the joint softmax of SD3, AuraFlow and FLUX (double and single blocks).
"""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from pipeline.diffusion.perturbed import is_perturbing
from pipeline.errors import ModelError
from pipeline.explain.joined import Spans, order_of, seen_of, spans_of

Kind = Literal["cross", "joint", "single", "self", "text"]

TEXT_FIRST = ("Flux", "AuraFlow", "AttnAddedKV", "CogView4", "Qwen", "Lumina2", "Krea2", "PRX")
TEXT_LAST = ("JointAttn", "ZSingleStream", "HunyuanImage", "HiDream")
READS_TEXT = ("text_fusion.", "context_embedder.")
"""Layers of a denoiser that go with its text encoder (Krea 2, HunyuanImage), and are left to it."""
JOINED: Mapping[str, Kind] = {
    "layers": "single",
    "transformer_blocks": "single",
    "double_stream_blocks": "single",
    "single_stream_blocks": "single",
    "noise_refiner": "self",
    "context_refiner": "text",
}
"""The kinds of layers of a denoiser whose call tells what stands where: Z-Image, Lumina2 and Krea 2, which join text and image
before their first joint layer, and HiDream, which adds text at every layer."""
QUERIES = ("to_q", "to_qkv_mlp_proj", "img_qkv_proj")
"""Layers with queries, by the name of what makes them."""
BOTH = ("CogView4",)
"""Processors that project text and image by the same weights."""

PREFIXES = re.compile("^(PAG(CFG)?|Fused)")
"""Of processors that keep the text where others do."""

_UNET_ORDER = {"down": 0, "mid": 1, "up": 2}
_HIDDEN = ("Sliced", "XFormers", "NPU", "XLA", "Linear")


@dataclass(frozen=True)
class AttentionLayer:
    """An attention module of a denoiser.

    Attributes:
        name: its path in the denoiser.
        group: "down", "mid", "up", or the third of a transformer's blocks, such as "blocks 0-1".
        kind: "cross" (image queries, text keys), "joint" (image and text in one softmax), "single"
            (the same on an already joined sequence), "self", or "text" (of the text encoder).
        text_first: whether the text stands before the image in a joint sequence.
        root: the denoiser, where its call tells what stands where in a joint sequence.
    """

    name: str
    group: str
    kind: Kind
    module: nn.Module
    text_first: bool = False
    root: nn.Module | None = None


def attention_layers(denoiser: nn.Module) -> list[AttentionLayer]:
    """All attention layers of a denoiser, in the order of its modules.

    Raises:
        ModelError: a joint layer's processor is not known, so its text keys cannot be told apart.
    """
    named = [
        (name, module)
        for name, module in denoiser.named_modules()
        if hasattr(module, "processor")
        and not name.startswith(READS_TEXT)
        and any(hasattr(module, name) for name in QUERIES)
    ]
    blocks = _block_numbers([name for name, _ in named])
    layers = []
    for name, module in named:
        kind = _kind(name, module)
        first = kind in ("joint", "single") and _is_text_first(name, module)
        root = denoiser if is_joined(module) else None
        layers.append(AttentionLayer(name, _group(name, blocks), kind, module, first, root))
    return layers


def text_layers(denoiser: nn.Module) -> list[AttentionLayer]:
    """The layers through which image positions attend to text; empty if there are none."""
    return [layer for layer in attention_layers(denoiser) if layer.kind not in ("self", "text")]


def layer_groups(layers: Sequence[AttentionLayer]) -> list[str]:
    """`all` and the groups of the layers, from the input of the denoiser to its output."""
    present = dict.fromkeys(layer.group for layer in layers)
    return ["all", *sorted(present, key=lambda group: _UNET_ORDER.get(group, 0))]


def is_joined(module: Any) -> bool:
    """Whether a layer is of a denoiser whose call tells what stands where in a joint sequence."""
    name = type(module.processor).__name__
    return name.startswith(("ZSingleStream", "Lumina2", "Krea2", "HiDream"))


def _kind(name: str, module: Any) -> Kind:
    if is_joined(module):
        return JOINED[name.split(".")[0]]
    processor = type(module.processor).__name__
    added = getattr(module, "add_k_proj", None) or getattr(module, "txt_kv_proj", None)
    if added is not None or processor.startswith(BOTH):
        return "joint"
    if "single_transformer_blocks" in name:
        return "single"
    return "cross" if getattr(module, "is_cross_attention", False) else "self"


def _is_text_first(name: str, module: Any) -> bool:
    processor = PREFIXES.sub("", type(module.processor).__name__)
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
    blocks = dict.fromkeys(
        ".".join(name.split(".")[:2])
        for name in names
        if not _unet_group(name) and "_refiner." not in name
    )
    ordered = sorted(blocks, key=lambda block: "single" in block)
    return {block: number for number, block in enumerate(ordered)}


def _unet_group(name: str) -> str:
    return {"down_blocks": "down", "mid_block": "mid", "up_blocks": "up"}.get(
        name.split(".")[0], ""
    )


def _group(name: str, blocks: dict[str, int]) -> str:
    if group := _unet_group(name):
        return group
    if "_refiner." in name:
        return "refiners"
    number, count = blocks[".".join(name.split(".")[:2])], len(blocks)
    third = min(2, 3 * number // count)
    members = [n for n in range(count) if min(2, 3 * n // count) == third]
    return f"blocks {members[0]}-{members[-1]}"


@dataclass(frozen=True)
class AttentionCall:
    """What one attention layer was given in one call; `text` is the number of text positions, of the longest item."""

    layer: AttentionLayer
    query: Float[Tensor, "b head query d"]
    key: Float[Tensor, "b head key d"]
    value: Float[Tensor, "b head key e"]
    mask: Tensor | None
    scale: float
    text: int
    spans: Spans | None = None

    def weights(self) -> Float[Tensor, "b head query key"]:
        """The softmax over all keys, in float32; sums to 1."""
        return attention_weights(self.query, self.key, self.mask, self.scale)

    @property
    def has_text_keys_only(self) -> bool:
        """Whether the image attends to text that attends to nothing: cross-attention, or text as added keys (PRX)."""
        if self.layer.kind == "cross":
            return True
        return self.layer.kind == "joint" and self.query.shape[2] != self.key.shape[2]

    def image_positions(self) -> slice:
        """Where the image stands among the queries."""
        if self.layer.kind in ("cross", "self", "text"):
            return slice(None)
        if self.spans is not None:
            start = self.text if self.layer.text_first else 0
            return slice(start, start + self.spans.image)
        return _image_part(self.query.shape[2], self._query_text(), self.layer.text_first)

    def image_keys(self) -> slice:
        """Where the image stands among the keys of a joint layer; of the image, if its queries are the image's alone (PRX)."""
        if self.layer.kind == "joint" and self.has_text_keys_only:
            return _image_part(self.key.shape[2], self.text, self.layer.text_first)
        return self.image_positions()

    def text_positions(self) -> slice:
        """Where the text stands among the keys."""
        if self.layer.kind == "cross":
            return slice(None)
        length = self.key.shape[2]
        return slice(0, self.text) if self.layer.text_first else slice(length - self.text, length)

    def aligned(self) -> AttentionCall:
        """The call with every item's image at the same place, where texts have different lengths (Lumina2)."""
        spans = self.spans
        if spans is None or len(set(spans.lengths)) < 2:
            return self
        order = order_of(spans, self.query.device)[:, None, :, None]

        def ordered(part: Tensor) -> Tensor:
            return torch.gather(part, 2, order.expand(-1, part.shape[1], -1, part.shape[3]))

        return replace(
            self,
            query=ordered(self.query),
            key=ordered(self.key),
            value=ordered(self.value),
            mask=seen_of(spans, self.query.device),
            text=max(spans.lengths),
        )

    def _query_text(self) -> int:
        """Text among the queries: none where text is an added key only (AttnAddedKV)."""
        return 0 if self.has_text_keys_only else self.text


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


@dataclass
class _Running:
    """A layer that runs, the number of text positions, and how often it has called PyTorch's attention."""

    layer: AttentionLayer
    text: int
    calls: int = 0


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
        self.spans: Spans | None = None
        self._hooks = ExitStack()
        self._thread = 0
        self._open: list[_Running] = []

    def __enter__(self) -> AttentionTap:
        for root in {layer.root for layer in self.layers if layer.root is not None}:
            measured = root.register_forward_pre_hook(self._measure, with_kwargs=True)
            self._hooks.callback(measured.remove)
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
        running = self._open.pop()
        layer, text = running.layer, running.text
        running.calls += 1
        try:
            if running.calls > 1 and is_perturbing(layer.module):  # the perturbed part, apart (SD3)
                return model_output(*args, **kwargs)
            call = _read_call(layer, text, *args, **kwargs)
            if self.spans is not None and layer.kind == "single":
                text = call.key.shape[2] - self.spans.room
                call = replace(call, text=text, spans=self.spans)
            return self.handle(call, lambda: model_output(*args, **kwargs))
        finally:
            self._open.append(running)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Looks away for a while, as when an explanation replays the denoiser."""
        before, self.active = self.active, False
        try:
            yield
        finally:
            self.active = before

    def _measure(self, denoiser: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        self.spans = spans_of(denoiser, args, kwargs)

    def _opener(self, layer: AttentionLayer) -> Callable[..., None]:
        def open_(_module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
            text = kwargs.get("encoder_hidden_states", args[1] if len(args) > 1 else None)
            if layer.kind in ("cross", "joint") and text is not None:
                self.text = text.shape[1]
            if self.active:
                self._open.append(_Running(layer, self.text))

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
