"""Configurations: those that real classes write pass, and what no class asks for is refused by name."""

import inspect
import json
from pathlib import Path

import diffusers
import open_clip
import pytest
import transformers
from diffusers import AutoencoderKL, FluxTransformer2DModel, ModelMixin, SchedulerMixin

from pipeline.errors import ModelError
from pipeline.models.configs import (
    LIMITS,
    REFUSED,
    check_component_config,
    check_config,
    check_tokenizer_config,
    check_values,
)
from pipeline.models.scorer_files import check_scorer_config

MODELS = [k for n in dir(diffusers) if inspect.isclass(k := getattr(diffusers, n)) and issubclass(k, ModelMixin) and not k.__module__.endswith("dummy_pt_objects")]  # fmt: skip
SCHEDULERS = [k for n in dir(diffusers) if n.endswith("Scheduler") and inspect.isclass(k := getattr(diffusers, n)) and issubclass(k, SchedulerMixin)]  # fmt: skip
ENCODERS = ("CLIPTextModel", "CLIPTextModelWithProjection", "CLIPVisionModelWithProjection", "CLIPModel", "T5EncoderModel", "UMT5EncoderModel", "MT5EncoderModel", "Gemma2Model", "Gemma2ForCausalLM", "LlamaModel", "Qwen2ForCausalLM", "Qwen2_5_VLForConditionalGeneration", "SiglipVisionModel", "XLMRobertaModel", "BertModel")  # fmt: skip


def plain(values):
    """As a file would hold it."""
    return json.loads(json.dumps(values, default=str))


def defaults(kind):
    signature = inspect.signature(kind.__init__).parameters.values()
    return {p.name: p.default for p in signature if p.default is not p.empty}


@pytest.mark.parametrize("kind", MODELS, ids=lambda kind: kind.__name__)
def test_the_defaults_of_every_model_of_diffusers_pass(kind):
    check_component_config(plain(defaults(kind)), "m: config.json", kind)


def test_every_scheduler_takes_every_schedulers_keys():
    """A model saved with PNDM holds keys that DDIM reads when it takes over."""
    merged = {}
    for kind in SCHEDULERS:
        merged |= plain(defaults(kind))
    for kind in SCHEDULERS:
        check_component_config(merged, "m: scheduler_config.json", kind)


@pytest.mark.parametrize("name", ENCODERS)
def test_the_configurations_that_transformers_writes_pass(name):
    kind = getattr(transformers, name)
    config = plain(kind.config_class().to_dict())
    check_component_config(config, "m: config.json", kind)
    assert config


OLD_CLIP = {
    "_name_or_path": "openai/clip-vit-large-patch14", "architectures": ["CLIPTextModel"], "attention_dropout": 0.0, "bos_token_id": 0,
    "dropout": 0.0, "eos_token_id": 2, "hidden_act": "quick_gelu", "hidden_size": 768, "initializer_factor": 1.0, "initializer_range": 0.02,
    "intermediate_size": 3072, "layer_norm_eps": 1e-05, "max_position_embeddings": 77, "model_type": "clip_text_model",
    "num_attention_heads": 12, "num_hidden_layers": 12, "pad_token_id": 1, "projection_dim": 768, "torch_dtype": "float32",
    "transformers_version": "4.22.0.dev0", "vocab_size": 49408, "_attn_implementation_autoset": True, "_attn_implementation": "sdpa",
}  # fmt: skip
OLD_T5 = {
    "_name_or_path": "google/t5-v1_1-xxl", "d_ff": 10240, "d_kv": 64, "d_model": 4096, "dense_act_fn": "gelu_new", "is_gated_act": True,
    "feed_forward_proj": "gated-gelu", "num_layers": 24, "num_heads": 64, "output_past": True, "n_positions": 512, "tie_word_embeddings": False,
    "task_specific_params": {"summarization": {"length_penalty": 2.0, "num_beams": 4, "prefix": "summarize: "}}, "vocab_size": 32128,
}  # fmt: skip
OLD_UNET = {
    "_class_name": "UNet2DConditionModel", "_diffusers_version": "0.6.0", "_name_or_path": "../ckpt/unet", "act_fn": "silu",
    "block_out_channels": [320, 640, 1280, 1280], "sample_size": 64, "upcast_attention": None, "num_class_embeds": None,
}  # fmt: skip
OLD_FLUX = {
    "attention_head_dim": 128,
    "axes_dims_rope": [16, 56, 56],
    "guidance_embeds": True,
    "num_single_layers": 38,
}
OLD_VAE = {
    "_name_or_path": "../checkpoints/flux-dev",
    "latents_mean": None,
    "scaling_factor": 0.3611,
    "force_upcast": True,
}
OLD_SCHEDULER = {
    "_class_name": "PNDMScheduler", "clip_sample": False, "set_alpha_to_one": False, "skip_prk_steps": True, "steps_offset": 1,
    "num_train_timesteps": 1000, "trained_betas": None, "lambda_min_clipped": float("-inf"), "solver_order": 2,
}  # fmt: skip
OLD_PROCESSOR = {
    "crop_size": {"height": 224, "width": 224}, "do_convert_rgb": True, "feature_extractor_type": "CLIPFeatureExtractor",
    "image_mean": [0.48, 0.46, 0.41], "resample": 3, "size": {"shortest_edge": 224},
}  # fmt: skip
OLD_TOKENIZER = {
    "add_prefix_space": False, "bos_token": {"__type": "AddedToken", "content": "<|startoftext|>", "lstrip": False, "normalized": True},
    "do_lower_case": True, "errors": "replace", "model_max_length": 77, "name_or_path": "openai/clip-vit-large-patch14",
    "special_tokens_map_file": "./special_tokens_map.json", "tokenizer_class": "CLIPTokenizer",
}  # fmt: skip
OLD_SENTENCEPIECE = {
    "added_tokens_decoder": {"0": {"content": "<pad>", "lstrip": False, "special": True}}, "additional_special_tokens": ["<extra_id_0>"],
    "chat_template": "{% for m in messages %}{{ m['content'] }}\n{% endfor %}", "extra_ids": 100, "legacy": True, "sp_model_kwargs": {},
    "model_max_length": 10**30, "tokenizer_class": "T5Tokenizer", "clean_up_tokenization_spaces": True, "tokenizer_file": None,
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        (transformers.CLIPTextModel, OLD_CLIP), (transformers.T5EncoderModel, OLD_T5), (diffusers.UNet2DConditionModel, OLD_UNET),
        (FluxTransformer2DModel, OLD_FLUX), (AutoencoderKL, OLD_VAE), (diffusers.PNDMScheduler, OLD_SCHEDULER),
        (transformers.CLIPImageProcessor, OLD_PROCESSOR), (transformers.CLIPTokenizer, OLD_TOKENIZER), (transformers.T5Tokenizer, OLD_SENTENCEPIECE),
        (transformers.GemmaTokenizer, OLD_SENTENCEPIECE),
    ],
    ids=lambda value: value.__name__ if inspect.isclass(value) else "",
)  # fmt: skip
def test_what_older_versions_wrote_passes(kind, config):
    check_component_config(plain(config), "m: config.json", kind)


def test_every_scorer_that_open_clip_lists_passes_but_those_with_a_tower_elsewhere():
    refused = set()
    for name in open_clip.list_models():
        config = plain({"model_cfg": open_clip.get_model_config(name), "preprocess_cfg": {}})
        try:
            check_scorer_config(config, "s: open_clip_config.json")
        except ModelError as error:
            assert "hf_model_name" in str(error)
            refused.add(name)
    assert refused == {n for n in open_clip.list_models() if "hf_model_name" in open_clip.get_model_config(n)["text_cfg"]}  # fmt: skip
    assert 0 < len(refused) < 20


@pytest.mark.parametrize("key", REFUSED)
@pytest.mark.parametrize("depth", [0, 1, 3])
def test_a_key_that_asks_for_code_is_refused_at_any_depth_unless_it_asks_for_nothing(key, depth):
    for value in ("owner/evil", ["x"], {"a": 1}, True, 1):
        nested = {key: value}
        for _ in range(depth):
            nested = {"a": [nested]}
        with pytest.raises(ModelError, match=key):
            check_values(nested, "m: f")
    for nothing in (None, False, "", [], {}):
        check_values({key: nothing}, "m: f")


@pytest.mark.parametrize("value", ["a/b", "..\\x", "x.py", "a\nb", "\x1b[31m"])
def test_a_text_that_may_be_a_path_is_refused(value):
    with pytest.raises(ModelError, match="act_fn"):
        check_component_config({"act_fn": value}, "m: f", diffusers.UNet2DConditionModel)
    check_component_config({"_name_or_path": "a/b"}, "m: f", diffusers.UNet2DConditionModel)


def test_an_object_under_a_key_that_the_class_does_not_know_is_refused():
    check_component_config({"old_flag": [1, "x", None]}, "m: f", AutoencoderKL)
    for value in ({}, {"a": 1}, [[1]], [{"a": 1}]):
        with pytest.raises(ModelError, match="'old_flag' .* its class knows"):
            check_component_config({"old_flag": value}, "m: f", AutoencoderKL)
    with pytest.raises(ModelError, match="old_flag"):
        check_config({"old_flag": 1}, "m: f", (), strict=True)


def test_numbers_are_held_to_their_limits():
    for key, most in (("num_layers", 1_024), ("num_train_timesteps", 100_000), ("sample_size", 65_536), ("extra_ids", 1_000), ("vocab_size", 2**24)):  # fmt: skip
        check_values({key: most}, "m: f")
        for value in (most + 1, [1, most + 1]):
            with pytest.raises(ModelError, match=f"'{key}' = {most + 1}"):
                check_values({key: value}, "m: f")
    assert len({pattern.pattern for pattern, _ in LIMITS}) == len(LIMITS)
    check_values({"rope_theta": 10**9, "model_max_length": 10**30, "flag": True}, "m: f")


def test_the_error_is_one_line_and_short_whatever_the_value():
    for value in ("\n" * 10_000 + "/", "x" * 10**6, list(range(200_000)), {str(i): 1 for i in range(200_000)}, 10**5_000):  # fmt: skip
        with pytest.raises(ModelError) as caught:
            check_tokenizer_config({"evil\n_file": value, "unk": value}, "m: f")
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


def test_the_bundled_configurations_pass():
    for file in Path("data/models").rglob("*.json"):
        if file.name not in ("tokenizer.json", "model_index.json"):
            check_values(json.loads(file.read_text()), str(file), texts="tokenizer" in file.name)
