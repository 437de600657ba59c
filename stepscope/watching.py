"""One call of a user's own diffusers pipeline, watched by the code that records studies."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.diffusion.generate import count_calls
from pipeline.diffusion.observers import ConceptObserver, StepObserver, encode, gather
from pipeline.diffusion.watch import Batch, Observer, StepView, Watch
from pipeline.errors import StepscopeError
from pipeline.explain import make_observers
from pipeline.models import loading
from pipeline.models.devices import is_group_offloaded
from pipeline.models.scorer import Scorer
from pipeline.study.prompts import Prompt, key_of
from pipeline.study.settings import Table
from pipeline.study.spec import Measures, ScorerSpec
from pipeline.study.tools import take_tool
from stepscope.errors import StudyError
from stepscope.watched import Watched

TOOLS = ("df-cam", "df-rise", "lime", "relevance")
SPARSE = {"df-rise", "lime"}  # hundreds of calls of the denoiser for a map
STRIDE = 5
GRADIENTS = ("relevance", "df-cam")
WORDS = ("attention", "relevance")


class ImageScorer(Protocol):
    """What measures similarity: unit embeddings whose dot product is the cosine."""

    def images(self, images: Tensor) -> Tensor:
        """Images "n 3 h w" in [0, 1] to unit vectors "n d"."""

    def texts(self, texts: list[str]) -> Tensor:
        """Texts to unit vectors "n d"."""


Concepts = Sequence[str] | Mapping[str, str | Sequence[str]]
Saliency = Sequence[str] | Mapping[str, Mapping[str, Any]]


class PipelineWatch:
    """A context manager: the pipeline's calls inside it are recorded. `stepscope.watch` makes one."""

    def __init__(
        self,
        pipe: Any,
        concepts: Concepts,
        scorer: str | Path | ImageScorer | None,
        attention: bool,
        saliency: Saliency,
    ) -> None:
        with one_line():
            loading.denoiser_of(pipe)
            self._pipeline = pipe
            self._measures = measures_of(attention, saliency)
            refuse_missing(pipe, self._measures)
            refuse_offload(pipe, self._measures)
            self._phrasings = phrasings_of(concepts)
            if self._phrasings and scorer is None:
                raise StudyError('concepts: a scorer is needed to measure them. Give scorer="data/models/scenes-clip", another folder or name of open_clip, or an object with images() and texts().')  # fmt: skip
            self._scorer = open_scorer(scorer, pipe._execution_device)
        self._seen = Watched(type(pipe).__name__)

    def __enter__(self) -> Watched:
        kind = type(self._pipeline)

        @functools.wraps(kind.__call__)
        def watched_call(pipe: Any, *args: Any, **kwargs: Any) -> Any:
            return self._call(kind, args, kwargs)

        # Python looks `__call__` up in the class: this one object gets a class of its own until the block ends.
        names = {"__call__": watched_call, "__module__": kind.__module__}
        self._kind = kind
        self._pipeline.__class__ = type(kind.__name__, (kind,), names)
        return self._seen

    def __exit__(self, *_: object) -> None:
        self._pipeline.__class__ = self._kind

    def _call(self, kind: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        bound = inspect.signature(kind.__call__).bind(self._pipeline, *args, **kwargs)
        bound.apply_defaults()
        with one_line():
            batch = self._batch(bound.arguments)
            observers = self._observers(batch)
        with ExitStack() as stack:
            for observer in observers:
                if isinstance(observer, AbstractContextManager):
                    stack.enter_context(observer)
            stack.enter_context(Watch(batch, observers))
            output = kind.__call__(self._pipeline, *args, **kwargs)
        for item, prompt in enumerate(batch.prompts):
            columns = {k: v for observer in observers for k, v in observer.columns(item).items()}
            self._seen.add(prompt.text, columns)
        return output

    def _batch(self, call: Mapping[str, Any]) -> Batch:
        prompts = prompts_of(call)
        refuse_batch(self._pipeline, self._measures, prompts)
        scheduler = loading.stage_of(self._pipeline).scheduler
        schedule = {
            name: call[name] for name in ("timesteps", "sigmas") if call.get(name) is not None
        }
        total = count_calls(scheduler, int(call.get("num_inference_steps") or 0), schedule)
        refuse_late_steps(self._measures, total)
        family = loading.family_of(self._pipeline)
        guidance = None if family.guided == "guidance_scale" else call.get(family.guided)
        return Batch(
            prompts=prompts,
            seed=seed_of(call.get("generator")),
            pipeline=self._pipeline,
            family=family,
            scorer=cast(Scorer, self._scorer),
            total_steps=total,
            guided=float(call.get(family.guided) or 0) > family.off,
            guidance=guidance,
        )

    def _observers(self, batch: Batch) -> list[Observer]:
        always: list[Observer] = [StepObserver(), Denoised()]
        tools = make_observers(self._measures, batch)
        if self._scorer is None:
            return [*always, *tools]
        texts = self._scorer.texts([prompt.text for prompt in batch.prompts])
        each = [embedding(self._scorer, phrasings) for phrasings in self._phrasings.values()]
        concepts = torch.stack(each) if each else texts[:0]
        return gather([*always, ConceptObserver(list(self._phrasings), concepts, texts), *tools])


class Denoised:
    """Keeps the predicted clean image of every step, as lossless WebP."""

    def __init__(self) -> None:
        self._images: list[list[bytes]] = []

    def on_step(self, view: StepView) -> None:
        """Decode and keep this step's images."""
        self._images.append([encode(image) for image in view.images()])

    def columns(self, item: int) -> dict[str, Any]:
        """`denoised` of an item: a file per step."""
        return {"denoised": [images[item] for images in self._images]}


@contextmanager
def one_line() -> Iterator[None]:
    """What the pipeline's code refuses, as a `StudyError`."""
    try:
        yield
    except StepscopeError as error:
        raise StudyError(" ".join(str(error).split())) from None


def open_scorer(
    scorer: str | Path | ImageScorer | None, device: torch.device
) -> ImageScorer | None:
    """A scorer of open_clip by folder or name; an object as it is."""
    if isinstance(scorer, str | Path):
        return Scorer(ScorerSpec(str(scorer)), device)
    return scorer


def embedding(scorer: ImageScorer, phrasings: tuple[str, ...]) -> Tensor:
    """The embedding of a concept: the normalised mean over its phrasings, as `Scorer.concept` has it."""
    return F.normalize(scorer.texts(list(phrasings)).mean(0), dim=-1)


def phrasings_of(concepts: Concepts) -> dict[str, tuple[str, ...]]:
    """Name -> phrasings of each concept; a name alone is its own phrasing."""
    if isinstance(concepts, str):
        concepts = [concepts]
    if not isinstance(concepts, Mapping):
        return {str(name): (str(name),) for name in concepts}
    return {
        str(name): (value,) if isinstance(value, str) else tuple(value)
        for name, value in concepts.items()
    }


def measures_of(attention: bool, saliency: Saliency) -> Measures:
    """The tools that are asked for, with the options of a study file's `[measures]`.

    Raises:
        StudyError: there is no such tool. StepscopeError: an option is not one of its own.
    """
    asked: dict[str, Any] = {"attention": {"maps": True}} if attention else {}
    for name in [saliency] if isinstance(saliency, str) else saliency:
        if name not in TOOLS:
            raise StudyError(f"saliency: {name!r} is not one of: {', '.join(TOOLS)}.")
        options = dict(saliency[name]) if isinstance(saliency, Mapping) else {}
        asked[name] = {"steps": {"stride": STRIDE}, **options} if name in SPARSE else options
    if "relevance" in asked:
        asked["relevance"] = {"maps": True, **asked["relevance"]}
    tools: dict[str, Any] = {
        name.replace("-", "_"): take_tool(
            Table(options, "watch", f"saliency.{name}", StepscopeError), name
        )
        for name, options in asked.items()
    }
    return Measures(**tools)


def refuse_missing(pipe: Any, measures: Measures) -> None:
    """Raises StudyError for a tool that this class of pipelines cannot give, with the reason."""
    missing = loading.family_of(pipe).missing()
    for name in measures.tools():
        if name in missing:
            raise StudyError(
                f"{name}: not available for {type(pipe).__name__}: {missing[name]}. Leave it out."
            )


def refuse_offload(pipe: Any, measures: Measures) -> None:
    """Raises StudyError for tools that need gradients where weights leave the GPU before those have passed."""
    asked = [name for name in measures.tools() if name in GRADIENTS]
    if asked and is_group_offloaded(loading.stage_of(pipe)):
        raise StudyError(f"{', '.join(asked)}: not available with group offload, which moves weights off the GPU before a gradient has passed through them. Leave it out, or use enable_model_cpu_offload().")  # fmt: skip


def refuse_batch(pipe: Any, measures: Measures, prompts: Sequence[Prompt]) -> None:
    """Raises StudyError for words of several prompts in one call, where padding to the longest changes what they get."""
    asked = [name for name in measures.tools() if name in WORDS]
    if asked and loading.family_of(pipe).solo and len({prompt.text for prompt in prompts}) > 1:
        raise StudyError(f"{', '.join(asked)}: what words get from {type(pipe).__name__} depends on the other prompts of a call. Call it with one prompt at a time inside the block.")  # fmt: skip


def refuse_late_steps(measures: Measures, total: int) -> None:
    """Raises StudyError for a step that the call does not reach."""
    for name, tool in measures.tools().items():
        late = [step for step in tool.steps or () if step >= total]
        if late:
            raise StudyError(
                f"saliency.{name}.steps holds {late[0]}, but the call has steps 0 to {total - 1}."
            )


def prompts_of(call: Mapping[str, Any]) -> tuple[Prompt, ...]:
    """The prompts of a call, each as often as it is drawn.

    Raises:
        StudyError: it has none, such as a call by embeddings or by class.
    """
    asked = call.get("prompt")
    texts = [asked] if isinstance(asked, str) else list(asked or ())
    if not texts:
        raise StudyError("The call has no prompt. Call the pipeline with prompt=..., not with embeddings or labels.")  # fmt: skip
    repeated = [text for text in texts for _ in range(int(call.get("num_images_per_prompt") or 1))]
    return tuple(
        Prompt(key_of(text), text, "", "", {}, position) for position, text in enumerate(repeated)
    )


def seed_of(generator: Any) -> int:
    """The seed of a call's (first) generator; 0 where it has none."""
    first = generator[0] if isinstance(generator, list | tuple) and generator else generator
    return int(first.initial_seed()) if isinstance(first, torch.Generator) else 0
