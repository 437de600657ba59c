"""Adapters (LoRA): W + weight * alpha / rank * up @ down, by hand; at weight 0 no bit changes; what does not fit is one line."""

import os
import pickle
from dataclasses import replace

import pytest
import torch

from pipeline.errors import ModelError, StudyError
from pipeline.models import loading
from pipeline.study.adapters import adapter_hash
from pipeline.study.spec import AdapterSpec, ModelSpec
from tests.support.adapters import RANK, matrices, prefixed, write_adapter
from tests.support.tiny_kolors import KOLORS
from tests.support.tiny_pipelines import folder_of

pytestmark = pytest.mark.long

CPU = torch.device("cpu")
Q = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
IN = "down_blocks.0.attentions.0.proj_in"
CONV = "down_blocks.0.resnets.0.conv1"
DIT_Q, DIT_FF = "transformer_blocks.0.attn.to_q", "transformer_blocks.0.ff.net.0.proj"
TODAY = {
    "cogview4": ["transformer_blocks.0.attn1.to_q"],
    "chroma": [DIT_Q, DIT_FF],
    "flux2-klein": [DIT_Q, "single_transformer_blocks.0.attn.to_qkv_mlp_proj"],
    "qwen-image": [DIT_Q, "transformer_blocks.0.attn.add_k_proj"],
    "z-image": ["layers.0.attention.to_q", "noise_refiner.0.feed_forward.w1"],
    "flux2": [DIT_Q],
    "krea2": ["transformer_blocks.0.attn.to_q"],
    "lumina2": ["layers.0.attn.to_q", "layers.0.feed_forward.linear_1"],
    "hunyuan-image": [DIT_Q, "single_transformer_blocks.0.attn.to_k"],
    "hidream": [
        "double_stream_blocks.0.block.attn1.to_k_t",
        "single_stream_blocks.0.block.ff_i.experts.0.w1",
    ],
}
FURTHER = {
    "sd-pag": ("unet", ["mid_block.attentions.0.transformer_blocks.0.attn1.to_q", CONV]),
    "sdxl-pag": ("unet", ["mid_block.attentions.0.transformer_blocks.0.attn1.to_v"]),
    "sd3-pag": ("transformer", ["transformer_blocks.1.attn.to_q", DIT_FF]),
    "sana-sprint": ("transformer", ["transformer_blocks.0.attn2.to_k"]),
    **dict.fromkeys(KOLORS, ("unet", ["mid_block.attentions.0.transformer_blocks.0.attn2.to_k"])),
    "prx": ("transformer", ["blocks.0.attention.img_qkv_proj", "blocks.1.attention.txt_kv_proj"]),
}
CLASSES = [*((name, "transformer", layers) for name, layers in TODAY.items()), *((name, *rest) for name, rest in FURTHER.items())]  # fmt: skip
TEXT = "encoder.layers.0.self_attn.q_proj"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def opened(root):
    """A tiny pipeline of a family with adapters; without any, it is opened once."""
    plain = {}

    def opened(name, *adapters, dtype="float32"):
        spec = ModelSpec(name, name, str(folder_of(name, root)), dtype=dtype)
        if adapters:
            pairs = tuple(AdapterSpec(str(path), weight) for path, weight in adapters)
            return loading.open_pipeline(replace(spec, adapters=pairs), CPU)
        if (name, dtype) not in plain:
            plain[name, dtype] = loading.open_pipeline(spec, CPU)
        return plain[name, dtype]

    return opened


def weights(pipeline, component, layer):
    return getattr(pipeline, component).get_submodule(layer).weight


def by_hand(state, layer):
    """up @ down of a layer, as it is in the paper."""
    up, down = state[f"{layer}.lora_B.weight"], state[f"{layer}.lora_A.weight"]
    return torch.einsum("or,ri...->oi...", up.flatten(1), down)


@pytest.mark.parametrize(
    ("name", "component", "layers"),
    [
        ("sd-epsilon", "unet", [Q, IN, CONV]),
        ("sdxl", "unet", [CONV]),
        ("sd3-no-t5", "transformer", [DIT_Q, DIT_FF]),
        ("flux-dev", "transformer", [DIT_Q, DIT_FF]),
        ("pixart-alpha", "transformer", ["transformer_blocks.0.attn1.to_q"]),
        *CLASSES,
    ],
)
def test_the_product_of_the_matrices_is_added(name, component, layers, opened, tmp_path):
    plain = opened(name)
    state = matrices(getattr(plain, component), layers)
    folder = write_adapter(tmp_path / "lora", prefixed(component, state))
    changed = opened(name, (folder, 0.5))
    for layer in layers:
        expected = weights(plain, component, layer) + 0.5 * by_hand(state, layer)
        torch.testing.assert_close(weights(changed, component, layer), expected)
    names = {f"{layer}.weight" for layer in layers}
    after = getattr(changed, component).state_dict()
    for key, value in getattr(plain, component).state_dict().items():
        assert (key in names) != torch.equal(value, after[key]), key


def test_text_encoders_are_changed_under_old_and_new_names(opened, tmp_path):
    plain = opened("sd-epsilon")
    state = matrices(plain.text_encoder, [TEXT])
    expected = weights(plain, "text_encoder", TEXT) + by_hand(state, TEXT)
    old = {f"text_encoder.text_model.{TEXT}.lora_linear_layer.{side}.weight": state[f"{TEXT}.lora_{part}.weight"] for side, part in (("down", "A"), ("up", "B"))}  # fmt: skip
    for number, names in enumerate((prefixed("text_encoder", state), old)):
        changed = opened("sd-epsilon", (write_adapter(tmp_path / str(number), names), 1.0))
        torch.testing.assert_close(weights(changed, "text_encoder", TEXT), expected)


def kohya(state, alpha):
    named = {}
    for layer in {key.split(".lora_")[0] for key in state}:
        stem = f"lora_unet_{layer.replace('.', '_')}"
        named[f"{stem}.lora_down.weight"] = state[f"{layer}.lora_A.weight"]
        named[f"{stem}.lora_up.weight"] = state[f"{layer}.lora_B.weight"]
        named[f"{stem}.alpha"] = torch.tensor(float(alpha))
    return named


def test_alpha_over_rank_scales_whoever_wrote_it(opened, tmp_path):
    """sd-scripts keeps alpha as a tensor, diffusers in the header, peft in a file beside the weights."""
    plain = opened("sd-epsilon")
    state = matrices(plain.unet, [Q])
    sd_scripts = write_adapter(tmp_path / "a", kohya(state, 6), name="lion-000004.safetensors")
    metadata = {"unet.r": RANK, "unet.lora_alpha": 1, "unet.alpha_pattern": {"attn1.to_q": 6}}
    diffusers = write_adapter(tmp_path / "b", prefixed("unet", state), metadata)
    native = write_adapter(tmp_path / "c", prefixed("base_model.model", state), name="adapter_model.safetensors")  # fmt: skip
    (native / "adapter_config.json").write_text(f'{{"peft_type": "LORA", "lora_alpha": 6, "r": {RANK}}}')  # fmt: skip
    expected = weights(plain, "unet", Q) + 6 / RANK * by_hand(state, Q)
    for source in (sd_scripts / "lion-000004.safetensors", diffusers, native):
        torch.testing.assert_close(
            weights(opened("sd-epsilon", (source, 1.0)), "unet", Q), expected
        )


def test_several_add_up_and_opposite_weights_cancel(opened, tmp_path):
    plain = opened("sd-epsilon")
    one, two = (matrices(plain.unet, [Q], seed) for seed in (1, 2))
    a, b = (write_adapter(tmp_path / n, prefixed("unet", s)) for n, s in (("a", one), ("b", two)))
    expected = weights(plain, "unet", Q) + 0.3 * by_hand(one, Q) - 2 * by_hand(two, Q)
    torch.testing.assert_close(weights(opened("sd-epsilon", (a, 0.3), (b, -2.0)), "unet", Q), expected)  # fmt: skip
    c = write_adapter(tmp_path / "c", prefixed("unet", one))
    again = opened("sd-epsilon", (a, 1.0), (c, -1.0))
    torch.testing.assert_close(weights(again, "unet", Q), weights(plain, "unet", Q))


@pytest.mark.parametrize(
    ("name", "component", "layers", "dtype"),
    [
        ("sd-epsilon", "unet", [Q, CONV], "float32"),
        ("sd-epsilon", "unet", [Q, CONV], "bfloat16"),
        *((*each, "float32") for each in CLASSES),
    ],
)
def test_weight_0_changes_no_bit(name, component, layers, dtype, opened, tmp_path):
    plain = opened(name, dtype=dtype)
    state = matrices(getattr(plain, component), layers)
    folder = write_adapter(tmp_path / "lora", prefixed(component, state))
    same = opened(name, (folder, 0.0), dtype=dtype)
    for name, module in plain.components.items():
        if isinstance(module, torch.nn.Module):
            other = same.components[name].state_dict()
            assert all(torch.equal(value, other[key]) for key, value in module.state_dict().items())


def first(state):
    return dict(list(state.items())[:1])


def narrow(state):
    return {key: value[:, :3] if "lora_A" in key else value for key, value in state.items()}


def bad(state):
    return {key: value * float("nan") for key, value in state.items()}


REFUSED = {
    "no such layer": (lambda s: {k.replace("to_q", "to_x"): v for k, v in s.items()}, "1 of 1 layers are not in this StableDiffusionPipeline: unet.down_blocks"),
    "another model's": (lambda s: {k.replace("unet.", "transformer."): v for k, v in s.items()}, "are not in this StableDiffusionPipeline"),
    "half a pair": (first, "is no pair of LoRA matrices"),
    "no adapter": (lambda s: {"conv_in.weight": torch.zeros(2, 2)}, "is no pair of LoRA matrices"),
    "another width": (narrow, "do not make weights of"),
    "no matrix": (lambda s: {k: v[0] for k, v in s.items()}, "which are none"),
    "rank 0": (lambda s: {k: v[:0] if "lora_A" in k else v[:, :0] for k, v in s.items()}, "which are none"),
    "no numbers": (bad, "no finite numbers"),
    "DoRA": (lambda s: s | {f"unet.{Q}.lora_magnitude_vector": torch.ones(2)}, "DoRA, which is not supported"),
    "LoHa": (lambda s: {f"unet.{Q}.hada_w1_a": torch.ones(2)}, "LoHa, which is not supported"),
    "LoKr": (lambda s: {f"unet.{Q}.lokr_w1": torch.ones(2)}, "LoKr, which is not supported"),
}  # fmt: skip


@pytest.mark.parametrize("harm", REFUSED)
def test_what_does_not_fit_is_one_line_before_and_while_loading(harm, opened, root, tmp_path):
    do, said = REFUSED[harm]
    state = prefixed("unet", matrices(opened("sd-epsilon").unet, [Q]))
    folder = write_adapter(tmp_path / "lora", do(state))
    spec = ModelSpec("sd", "sd", str(root / "sd-epsilon"), adapters=(AdapterSpec(str(folder)),))
    for check in (loading.check_tensors, lambda spec: loading.open_pipeline(spec, CPU)):
        with pytest.raises(ModelError, match=said) as caught:
            check(spec)
        assert "\n" not in str(caught.value) and str(folder) in str(caught.value)


def test_metadata_and_configurations_with_more_than_plain_lora_are_refused(opened, root, tmp_path):
    state = matrices(opened("sd-epsilon").unet, [Q])
    spec = ModelSpec("sd", "sd", str(root / "sd-epsilon"))
    pattern = write_adapter(tmp_path / "a", prefixed("unet", state), {"unet.alpha_pattern": {"(a+)+$": 3}})  # fmt: skip
    dora = write_adapter(tmp_path / "b", prefixed("base_model.model", state), name="adapter_model.safetensors")  # fmt: skip
    (dora / "adapter_config.json").write_text('{"peft_type": "LORA", "use_dora": true}')
    odd = write_adapter(tmp_path / "c", prefixed("unet", state), {"unet.alpha_pattern": [3]})
    text = write_adapter(tmp_path / "d", prefixed("unet", state), {"unet.lora_alpha": "6"})
    for folder, said in (
        (pattern, "is a pattern"),
        (odd, "is no object"),
        (text, "is not a number"),
        (dora, "use_dora = True, which is not"),
    ):
        with pytest.raises(ModelError, match=said):
            loading.check_tensors(replace(spec, adapters=(AdapterSpec(str(folder)),)))


class Boom:
    """Unpickling it writes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_pickles_links_and_damaged_files_are_refused(opened, root, tmp_path):
    state = prefixed("unet", matrices(opened("sd-epsilon").unet, [Q]))
    whole = write_adapter(tmp_path / "whole", state) / "pytorch_lora_weights.safetensors"
    for name in ("pickled", "linked", "short", "empty"):
        (tmp_path / name).mkdir()
    mark = tmp_path / "ran"
    (tmp_path / "pickled" / "pytorch_lora_weights.bin").write_bytes(pickle.dumps(Boom(mark)))
    (tmp_path / "linked" / whole.name).symlink_to(whole)
    (tmp_path / "short" / whole.name).write_bytes(whole.read_bytes()[:-1])
    said = {"pickled": "pickle, never loaded", "linked": "is a link out of", "short": "truncated", "empty": "no safetensors file"}  # fmt: skip
    spec = ModelSpec("sd", "sd", str(root / "sd-epsilon"))
    for name, expected in said.items():
        with pytest.raises(ModelError, match=expected) as caught:
            loading.check_tensors(replace(spec, adapters=(AdapterSpec(str(tmp_path / name)),)))
        assert "\n" not in str(caught.value)
    with pytest.raises(StudyError, match="pickle, never loaded"):
        adapter_hash(str(tmp_path / "pickled" / "pytorch_lora_weights.bin"))
    assert not mark.exists()


def test_a_trainer_s_other_files_are_left_alone(opened, tmp_path):
    """accelerate leaves the optimiser beside the adapter, as pickles."""
    state = prefixed("unet", matrices(opened("sd-epsilon").unet, [Q]))
    folder = write_adapter(tmp_path / "checkpoint-500", state)
    before = adapter_hash(str(folder))
    mark = tmp_path / "ran"
    (folder / "optimizer.bin").write_bytes(pickle.dumps(Boom(mark)))
    write_adapter(folder, state, name="model.safetensors")
    opened("sd-epsilon", (folder, 1.0))
    assert adapter_hash(str(folder)) == before and not mark.exists()
