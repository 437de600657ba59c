"""The folders of models, decoders and scorers: what may be in them, checked before any of it is loaded.

Every configuration goes through pipeline/models/configs.py, every weight through pipeline/model_weights.py, and a library is
given a view of the files that were checked, never the folder itself.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import diffusers
from diffusers import DiffusionPipeline, ModelMixin, SchedulerMixin
from diffusers.guiders import BaseGuidance
from diffusers.pipelines.pipeline_loading_utils import simple_get_class_obj
from huggingface_hub import snapshot_download
from transformers import PreTrainedModel, PreTrainedTokenizerBase, ProcessorMixin
from transformers.feature_extraction_utils import FeatureExtractionMixin
from transformers.image_processing_base import ImageProcessingMixin

from pipeline.errors import ModelError
from pipeline.models.configs import (
    check_component_config,
    check_index_config,
    check_tokenizer_config,
    check_tokenizer_json,
    check_values,
)
from pipeline.models.files import (
    COMPONENT,
    check_weight_index,
    has_variant,
    read_object,
    read_shapes,
    refuse_links_out,
    view,
    weight_files,
)
from pipeline.models.guard import one_line
from pipeline.models.single_files import prefix_of
from pipeline.study.settings import show

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".msgpack")
UNWANTED = ("safety_checker",)  # would replace images by black ones and so spoil a study
LIBRARIES = ("diffusers", "transformers", "stable_diffusion")
KINDS = (ModelMixin, SchedulerMixin, PreTrainedModel, PreTrainedTokenizerBase, ImageProcessingMixin, FeatureExtractionMixin, ProcessorMixin, DiffusionPipeline, BaseGuidance)  # fmt: skip
"""What a component may be: classes whose files and configurations are known here."""
MAX_NESTING = 3  # pipelines in pipelines

TOKENIZER_FILES = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "tokenizer.json", "vocab.json", "merges.txt", "vocab.txt", "spiece.model", "tokenizer.model", "sentencepiece.bpe.model", "chat_template.jinja")  # fmt: skip
PROCESSOR_FILES = (
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "processor_config.json",
)


@dataclass(frozen=True)
class Component:
    """One part of a pipeline's folder.

    Attributes:
        name: as model_index.json calls it; with the pipelines around it, as in "prior/unet".
        kind: its class, of diffusers or transformers.
        folder: where its files are.
        title: the model, as messages begin.
        variant: of its weights, where it has that.
        checkpoint: the single file that holds its weights in another layout; None = they are in its folder.
    """

    name: str
    kind: type
    folder: Path
    title: str
    variant: str | None = None
    checkpoint: Path | None = None

    @property
    def stem(self) -> str:
        """The name of its weights; "" where it has none."""
        if issubclass(self.kind, ModelMixin):
            return "diffusion_pytorch_model"
        return "model" if issubclass(self.kind, PreTrainedModel) else ""

    def settings(self) -> list[Path]:
        """The files that hold its class's own settings."""
        names: tuple[str, ...] = PROCESSOR_FILES
        if self.stem:
            names = ("config.json",)
        elif issubclass(self.kind, PreTrainedTokenizerBase):
            names = ("tokenizer_config.json",)
        elif issubclass(self.kind, SchedulerMixin):
            names = ("scheduler_config.json",)
        elif issubclass(self.kind, BaseGuidance):
            names = ("guider_config.json",)
        return [file for name in names if (file := self.folder / name).is_file()]

    def files(self) -> dict[str, Path]:
        """The files that its library is given, by their names there.

        Raises:
            ModelError: its weights are not to be found.
        """
        files = {file.name: file for file in self.settings()}
        if self.checkpoint is not None:
            return files
        if self.stem:
            return files | weight_files(self.folder, self.stem, self.title, self.variant)
        if issubclass(self.kind, PreTrainedTokenizerBase | ProcessorMixin):
            return files | tokenizer_files(self.folder)
        return files


def tokenizer_files(folder: Path) -> dict[str, Path]:
    """The files of a tokenizer that a folder has, by name."""
    return {name: file for name in TOKENIZER_FILES if (file := folder / name).is_file()}


def read_index(folder: Path, title: str) -> dict[str, Any]:
    """The pipeline's model_index.json."""
    file = folder / "model_index.json"
    if not file.is_file() and (folder / "modular_model_index.json").is_file():
        raise ModelError(
            f"{title}: {folder} is a modular pipeline (modular_model_index.json), whose denoising loop is put together of blocks "
            "and is not recorded. Give the model's standard pipeline, a folder with model_index.json."
        )
    if not file.is_file():
        raise ModelError(
            f"{title}: {folder} has no model_index.json, so it is not a diffusers pipeline folder. Save the "
            "pipeline with save_pretrained(..., safe_serialization=True)."
        )
    index = read_object(file, title)
    if "_class_name" not in index:
        raise ModelError(
            f"{title}: {file} has no '_class_name'. Save the pipeline again with diffusers."
        )
    return index


def is_component(entry: object) -> bool:
    """Whether an entry of model_index.json names a class; a list of numbers is a setting (Krea 2's layers of its encoder)."""
    numbers = isinstance(entry, list) and all(isinstance(each, int | float) for each in entry)
    return isinstance(entry, list) and not (entry and numbers)


def check_index(index: Mapping[str, Any], folder: Path, title: str) -> None:
    """The pipeline class must be diffusers' own, and every component one of diffusers' or transformers' classes.

    Raises:
        ModelError: names the entry.
    """
    file, wanted = f"{folder}/model_index.json", index["_class_name"]
    if lacking := missing_packages(wanted):
        raise ModelError(
            f"{title}: {file} asks for pipeline class {show(wanted)}, which diffusers offers only where {', '.join(lacking)} is "
            f"installed. Install it: pip install {' '.join(lacking)}."
        )
    if not _is_pipeline(wanted):
        raise ModelError(
            f"{title}: {file} asks for pipeline class {show(wanted)}, which diffusers "
            f"{diffusers.__version__} does not have. Remote code is never run; use a pipeline that diffusers ships."
        )
    check_index_config(index, f"{title}: {file}", getattr(diffusers, wanted))
    for component, entry in index.items():
        if is_component(entry) and entry[:1] != [None]:
            _check_entry(component, entry, file, title)


def _is_pipeline(wanted: object) -> bool:
    """Whether a name is that of one of diffusers' pipeline classes."""
    kind = getattr(diffusers, wanted, None) if isinstance(wanted, str) else None
    return inspect.isclass(kind) and issubclass(kind, DiffusionPipeline)


def missing_packages(wanted: object) -> list[str]:
    """The packages that a class of diffusers needs and that are not installed: diffusers has a stand-in for it then."""
    kind = getattr(diffusers, wanted, None) if isinstance(wanted, str) else None
    return [name for name in getattr(kind, "_backends", ()) if find_spec(name) is None]


def _check_entry(component: str, entry: list[Any], file: str, title: str) -> None:
    if len(entry) != 2 or not isinstance(entry[1], str) or not COMPONENT.fullmatch(component):
        raise ModelError(
            f"{title}: component {show(component)} of {file} is {show(entry)}, not "
            '["diffusers", CLASS]. Save the pipeline again with diffusers.'
        )
    allowed = entry[0] in LIBRARIES or _is_pipeline_module(entry[0])
    if not allowed or (entry[0] == LIBRARIES[-1]) != (component in UNWANTED):
        raise ModelError(
            f"{title}: component {component!r} of {file} comes from {show(entry[0])}; only "
            "diffusers and transformers are allowed, for remote code is never run."
        )
    if component not in UNWANTED:
        class_of(entry, component, file, title)


def _is_pipeline_module(name: object) -> bool:
    """Whether a name is that of a module of diffusers' pipelines, which may hold a model of its own (Kandinsky 2.1)."""
    module = getattr(diffusers.pipelines, name, None) if isinstance(name, str) else None
    return inspect.ismodule(module) and module.__name__ == f"diffusers.pipelines.{name}"


def class_of(entry: list[Any], component: str, file: str, title: str) -> type:
    """The class of a component's entry.

    Raises:
        ModelError: the library has none of that name, or it is no model, scheduler, tokenizer, processor or pipeline.
    """
    kind = library_class(*entry)
    if inspect.isclass(kind) and issubclass(kind, KINDS):
        return kind
    raise ModelError(
        f"{title}: component {component!r} of {file} asks for {show(entry[1])}, which is no model, scheduler, tokenizer or "
        f"processor of this version of {entry[0]}. Install the version it was saved with, or save it again."
    )


@cache
def library_class(library: str, name: str) -> object:
    """A name of diffusers or transformers; those that were renamed are known to diffusers."""
    try:
        return simple_get_class_obj(library, name) if name.isidentifier() else None
    except (AttributeError, ImportError, ValueError, RuntimeError):
        return None


def check_pipeline_folder(
    folder: Path, title: str, variant: str | None = None, checkpoint: Path | None = None
) -> list[Component]:
    """Everything about a pipeline's folder that can be known without building a model.

    Args:
        folder: with a model_index.json.
        title: the model, as messages begin.
        variant: of the weights, such as fp16; components without it have their plain weights loaded.
        checkpoint: a single file; the components that it holds need no weights in the folder.

    Returns: its components, those of pipelines within it too.

    Raises:
        ModelError: names the file, what it holds and what is allowed.
    """
    index = read_index(folder, title)
    check_index(index, folder, title)
    refuse_links_out(folder, title)
    components = _check_components(folder, index, title, 0, variant)
    if checkpoint is not None:
        components = _from_checkpoint(components, checkpoint, title)
    for component in components:
        if component.stem and component.checkpoint is None:
            _check_weight_files(component.folder, title)
    if variant and not any(c.stem and has_variant(c.folder, c.stem, variant) for c in components):
        raise ModelError(f"{title}: variant = {variant!r}, and no component of {folder} has weights of it. Leave it out.")  # fmt: skip
    return components


def _from_checkpoint(components: list[Component], file: Path, title: str) -> list[Component]:
    """The components, those that a single file holds with it; it must hold the one that denoises."""
    names = read_shapes(file, title)
    taken = [replace(c, checkpoint=file) if prefix_of(c.kind, c.name, names) else c for c in components]  # fmt: skip
    if not any(c.checkpoint and c.name in ("unet", "transformer") for c in taken):
        raise ModelError(
            f"{title}: {file} holds no UNet or transformer in a layout that is known (Stable Diffusion 1 and 2, SDXL, FLUX) and that "
            "the configuration asks for. Give the folder of a model of the same kind as config, or a folder in diffusers' layout as source."
        )
    return taken


def _check_components(
    folder: Path, index: Mapping[str, Any], title: str, depth: int, variant: str | None
) -> list[Component]:
    components = []
    for name, entry in index.items():
        if not is_component(entry) or entry[0] is None or (name in UNWANTED and not depth):
            continue
        path = folder / name
        _check_component_folder(folder, name, title)
        kind = class_of(entry, name, f"{folder}/model_index.json", title)
        if issubclass(kind, DiffusionPipeline):
            _refuse_pipeline_for_model(index, name, path, title)
            components += _check_nested(path, title, depth + 1, variant)
        else:
            components.append(Component(name, kind, path, title, variant))
            _check_component(components[-1])
    return components


def _refuse_pipeline_for_model(index: Mapping[str, Any], name: str, path: Path, title: str) -> None:
    """diffusers only warns of a pipeline where its class wants a model, and fails later."""
    wanted = getattr(diffusers, index["_class_name"])._get_signature_types().get(name, ())
    kinds = [kind for kind in wanted if inspect.isclass(kind) and kind is not inspect.Parameter.empty]  # fmt: skip
    if kinds and not any(issubclass(kind, DiffusionPipeline) for kind in kinds):
        raise ModelError(f"{title}: {path} is a whole pipeline; {index['_class_name']} wants a model there. Save that one in its place.")  # fmt: skip


def _check_nested(folder: Path, title: str, depth: int, variant: str | None) -> list[Component]:
    if depth > MAX_NESTING:
        raise ModelError(f"{title}: {folder} is a pipeline within {MAX_NESTING} others. Save it on its own.")  # fmt: skip
    index = read_index(folder, title)
    check_index(index, folder, title)
    return _check_components(folder, index, title, depth, variant)


def _check_component_folder(folder: Path, name: str, title: str) -> None:
    path = folder / name
    if not path.is_dir():
        raise ModelError(
            f"{title}: {folder} lacks the component folder {name!r} that model_index.json names. "
            "Download or save the model again."
        )
    if path.resolve().parent != folder.resolve():
        raise ModelError(
            f"{title}: {path} is a link out of the model's folder. Copy the component into it."
        )


def _check_component(component: Component) -> None:
    """The configurations of a component."""
    folder, title = component.folder, component.title
    if component.stem and not (folder / "config.json").is_file():
        raise ModelError(f"{title}: {folder} has no config.json. Download or save the model again.")
    for file in component.settings():
        check_component_config(read_config(file, title), f"{title}: {file}", component.kind)
    if issubclass(component.kind, PreTrainedTokenizerBase | ProcessorMixin):
        check_tokenizer_files(folder, title)
    if issubclass(component.kind, ProcessorMixin) and (folder / TOKENIZER_FILES[0]).is_file():
        file = folder / TOKENIZER_FILES[0]  # of the tokenizer that it holds
        check_tokenizer_config(read_config(file, title), f"{title}: {file}")
    if issubclass(component.kind, SchedulerMixin):
        _check_scheduler(component)


def _check_scheduler(component: Component) -> None:
    """That a scheduler can be set up as its configuration says."""
    kind: Any = component.kind
    for file in component.settings():
        problem = f"{component.title}: scheduler {kind.__name__!r} cannot be set up as {file} says"
        with one_line(problem, "Download or save the model again."):
            kind.from_config(read_config(file, component.title))


def read_config(file: Path, title: str) -> dict[str, Any]:
    """The object of a configuration's file.

    Raises:
        ModelError: it cannot be read.
    """
    try:
        return read_object(file, title)
    except ModelError as error:
        raise ModelError(
            f"{title}: the configuration of {file.parent.name!r} cannot be read: {str(error).removeprefix(f'{title}: ')} "
            "Download or save the model again."
        ) from error


def check_tokenizer_files(folder: Path, title: str) -> None:
    """What a tokenizer's folder holds beside its configuration: data, but with limits.

    Raises:
        ModelError: names the file and the key.
    """
    for name in ("special_tokens_map.json", "added_tokens.json"):
        if (folder / name).is_file():
            check_values(read_config(folder / name, title), f"{title}: {folder / name}", texts=True)
    if (folder / "tokenizer.json").is_file():
        file = folder / "tokenizer.json"
        check_tokenizer_json(read_config(file, title), f"{title}: {file}")


def _check_weight_files(path: Path, title: str) -> None:
    weights = sorted(path.glob("*.safetensors"))
    if not weights:
        pickled = [file.name for file in sorted(path.iterdir()) if file.suffix in PICKLES]
        present = f"only {', '.join(pickled)} (pickle, never loaded)" if pickled else "no weights"
        raise ModelError(
            f"{title}: {path} has {present}. Convert it with save_pretrained(..., safe_serialization=True)."
        )
    for file in weights:
        read_shapes(file, title)
    for file in sorted(path.glob("*.index.json")):
        check_weight_index(file, title)


@contextmanager
def pipeline_view(folder: Path, components: list[Component]) -> Iterator[Path]:
    """A pipeline's folder that holds the files of its checked components and nothing else.

    Raises:
        ModelError: the weights of a component are not to be found.
    """
    files = {}
    for index in {folder, *(c.folder.parent for c in components)}:
        files[f"{index.relative_to(folder) / 'model_index.json'}"] = index / "model_index.json"
    for component in components:
        relative = component.folder.relative_to(folder)
        files |= {f"{relative / name}": file for name, file in component.files().items()}
    with view(files) as view_folder:
        yield view_folder


def check_decoder_folder(folder: Path, kind: type, title: str) -> Component:
    """The folder of one model on its own, such as an AutoencoderTiny.

    Raises:
        ModelError: as `check_pipeline_folder`.
    """
    component = Component("steps_decoder", kind, folder, title)
    refuse_links_out(folder, title)
    _check_component(component)
    _check_weight_files(component.folder, title)
    return component


def cached_folder(name: str, revision: str | None = None) -> Path | None:
    """The folder that the Hub's cache has of an id, maybe with a part of its files; the network is not asked."""
    try:
        return Path(snapshot_download(name, revision=revision, local_files_only=True))
    except (OSError, ValueError):  # not there, or no id at all
        return None


def is_whole(folder: Path) -> bool:
    """Whether a pipeline's folder in the cache has every component, with every part of its weights."""
    try:
        index = read_index(folder, "")
        for name, entry in index.items():
            if is_component(entry) and entry[0] and name not in UNWANTED:
                for file in (folder / name).glob("*.safetensors.index.json"):
                    check_weight_index(file, "")
                suffixes = {file.suffix for file in (folder / name).iterdir()}
                if not suffixes or ((folder / name / "config.json").is_file() and ".safetensors" not in suffixes):  # fmt: skip
                    return False
    except (ModelError, OSError):
        return False
    return True
