"""The folder of a scorer, in open_clip's layout: what its configuration may ask for, and that its weights are all there."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import open_clip
import timm
import torch
from open_clip.coca_model import CoCa, MultimodalCfg
from open_clip.convert import convert_state_dict
from open_clip.model import CLIPTextCfg, CLIPVisionCfg, convert_to_custom_text_state_dict
from open_clip.transform import PreprocessCfg
from transformers import PreTrainedTokenizerBase

from pipeline.errors import ModelError
from pipeline.models.clip_folders import check_clip_folder, is_clip_folder
from pipeline.models.configs import check_config, check_tokenizer_config, check_values
from pipeline.models.files import Shape, read_object, read_shapes, refuse_links_out, view
from pipeline.models.folders import (
    check_tokenizer_files,
    library_class,
    read_config,
    tokenizer_files,
)
from pipeline.models.guard import no_remote_code, one_line, quiet
from pipeline.models.weights import (  # fmt: skip
    ADVICE,
    Differences,
    building,
    check_tables,
    compare,
    refuse_differences,
    shapes_of,
)
from pipeline.study.settings import show
from pipeline.study.spec import ScorerSpec

CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"
CLEANING = ("canonicalize", "lower", "whitespace")
TOKENIZER_KWARGS = ("clean", "strip_sep_token")
NESTED = ("layers", "image_size", "tokenizer_kwargs", "act_kwargs", "norm_kwargs")
CLASSES = (open_clip.CLIP, open_clip.CustomTextCLIP, CoCa)


def check_scorer_folder(spec: ScorerSpec) -> None:
    """What can be known of a scorer's folder without loading it; a name that others host is taken as it is.

    Raises:
        ModelError: the folder lacks the files of open_clip's layout, holds links out of it or damaged weights, or its
            configuration asks for code, other repositories or absurd sizes.
    """
    folder = Path(spec.source)
    if folder.is_dir() and is_clip_folder(folder):
        check_clip_folder(folder, f"scorer {spec.source}")
    elif folder.is_dir():
        check_files(folder, f"scorer {spec.source}")


def check_files(folder: Path, title: str) -> dict[str, Any]:
    """As `check_scorer_folder`, of a folder or of the Hub's cache. Returns: the configuration."""
    weights = folder / WEIGHTS
    if not weights.is_file():
        raise ModelError(
            f"{title}: no {weights.name} in that folder. Only safetensors are loaded; save the model in the layout of "
            "open_clip.push_to_hf_hub."
        )
    refuse_links_out(folder, title)
    config = read_object(folder / CONFIG, title)
    read_shapes(weights, title)
    check_scorer_config(config, f"{title}: {folder / CONFIG}")
    check_tokenizer_folder(folder, title)
    return config


def check_tokenizer_folder(folder: Path, title: str) -> None:
    """The files that AutoTokenizer reads in a folder.

    Raises:
        ModelError: names the file and the key.
    """
    if (folder / "config.json").is_file():  # only its model_type is read, to choose a tokenizer
        check_values(read_config(folder / "config.json", title), f"{title}: {folder / 'config.json'}")  # fmt: skip
    file = folder / "tokenizer_config.json"
    if file.is_file():
        config = read_config(file, title)
        kind: Any = library_class("transformers", str(config.get("tokenizer_class")))
        known = inspect.isclass(kind) and issubclass(kind, PreTrainedTokenizerBase)
        check_tokenizer_config(
            config, f"{title}: {file}", kind if known else PreTrainedTokenizerBase
        )
    check_tokenizer_files(folder, title)


def check_scorer_config(config: Mapping[str, Any], title: str) -> None:
    """The open_clip_config.json: only the keys of open_clip's own records, none of which reaches the network.

    Raises:
        ModelError: names the key.
    """
    check_values(config, title)
    model = config.get("model_cfg")
    if not isinstance(model, dict):
        raise ModelError(
            f"{title} has no object 'model_cfg'. Save the scorer in the layout of open_clip.push_to_hf_hub."
        )
    parts = {
        "vision_cfg": _fields(CLIPVisionCfg),
        "text_cfg": _fields(CLIPTextCfg),
        "multimodal_cfg": _fields(MultimodalCfg),
    }
    check_config(model, f"{title}: model_cfg", _model_keys(), parts, NESTED, strict=True)
    check_config(config.get("preprocess_cfg") or {}, f"{title}: preprocess_cfg", _fields(PreprocessCfg))  # fmt: skip
    for part in ("vision_cfg", "text_cfg"):
        if not isinstance(model.get(part), dict):
            raise ModelError(f"{title}: model_cfg has no object {part!r}. {ADVICE}")
    for part in parts.keys() & model.keys():
        _check_tower(model[part] or {}, f"{title}: {part}")


def _check_tower(tower: Mapping[str, Any], title: str) -> None:
    """The settings of a tower that open_clip hands on to other libraries."""
    options: dict[str, Collection[str]] = {
        "tokenizer_kwargs": TOKENIZER_KWARGS,
        "act_kwargs": ("approximate",),
        "norm_kwargs": ("eps",),
    }
    for key, allowed in options.items():
        unknown = sorted(set(tower.get(key) or ()) - set(allowed))
        if unknown:
            raise ModelError(
                f"{title}: {key} = {show(tower[key])} holds {show(unknown[0])}; allowed: {', '.join(allowed)}. {ADVICE}"
            )
    clean = (tower.get("tokenizer_kwargs") or {}).get("clean", CLEANING[0])
    if clean not in CLEANING:
        raise ModelError(f"{title}: clean = {show(clean)} is unknown; allowed: {', '.join(CLEANING)}.")  # fmt: skip
    name = tower.get("timm_model_name")
    if name is not None and not (isinstance(name, str) and timm.is_model(name)):
        raise ModelError(
            f"{title}: timm_model_name = {show(name)} is not a model of timm {timm.__version__}, and none is fetched from "
            f"elsewhere. {ADVICE}"
        )


def _fields(record: Any) -> frozenset[str]:
    return frozenset(field.name for field in dataclasses.fields(record))


def _model_keys() -> frozenset[str]:
    names = {name for kind in CLASSES for name in inspect.signature(kind.__init__).parameters}
    return frozenset(names | {"custom_text"}) - {"self", "cast_dtype", "output_dict"}


def check_scorer_weights(folder: Path, config: Mapping[str, Any], title: str) -> None:
    """Refuses a scorer whose weights are not exactly those that its configuration asks for.

    Raises:
        ModelError: names the tensors that are missing, unexpected or of another shape.
    """
    shapes = read_shapes(folder / WEIGHTS, title)
    problem = f"{title} cannot be built from its configuration"
    with one_line(problem, ADVICE), no_remote_code(), quiet(), building(title, len(shapes)):
        model = _skeleton(config)
        check_tables(model, title)
        differences = _differences(model, shapes)
    refuse_differences(differences, title)


def _skeleton(config: Mapping[str, Any]) -> Any:
    """The model without memory, of the class that open_clip would choose."""
    model = deepcopy(dict(config["model_cfg"]))
    custom = model.pop("custom_text", False)
    if model["vision_cfg"].get("timm_model_name"):
        model["vision_cfg"]["timm_model_pretrained"] = False
    kind: Any = open_clip.CLIP
    if custom:
        kind = CoCa if "multimodal_cfg" in model else open_clip.CustomTextCLIP
    with torch.device("meta"):
        return kind(**model)


def _differences(model: Any, shapes: Mapping[str, Shape]) -> Differences:
    """After open_clip's own renaming; scale and bias of the logits may be (1,) or (), and the bias may be left out: the
    cosine, which is all that is measured, has neither."""
    nothing = torch.zeros(())
    stored = {name: nothing.expand(shape) for name, shape in shapes.items()}
    stored = convert_state_dict(model, stored)
    if "positional_embedding" in stored and not hasattr(model, "positional_embedding"):
        stored = convert_to_custom_text_state_dict(stored)
    actual = {name: tuple(tensor.shape) for name, tensor in stored.items()}
    expected = shapes_of(model)
    for name in ("logit_scale", "logit_bias"):
        if name in expected and actual.get(name, () if name == "logit_bias" else None) in (
            (),
            (1,),
        ):
            actual[name] = expected[name]
    return compare(expected, actual)


@contextmanager
def scorer_view(folder: Path) -> Iterator[Path]:
    """A scorer's folder that holds its checked files and nothing else."""
    names = (CONFIG, WEIGHTS, "config.json")
    files = {name: file for name in names if (file := folder / name).is_file()}
    with view(files | tokenizer_files(folder)) as view_folder:
        yield view_folder
