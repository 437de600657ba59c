"""Stepscope in Python: read a published study, or watch one call of a diffusers pipeline.

```python
import stepscope

study = stepscope.open("data/results/demo")   # a results folder, a snapshot or the name of a study
study.scores()                                # a data frame: the models by CLIP score, with intervals
study.figure("emergence")                     # an Altair chart

with stepscope.watch(pipe, concepts=["cat"], scorer="data/models/scenes-clip") as seen:
    pipe("a cat left of a rocket")            # your own call, with the same bits as without
seen.images                                   # the predicted clean image of every step
```

Reading a study imports neither torch nor `pipeline`. docs/python.md describes all of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from stepscope.errors import StudyError
from stepscope.filters import Filters

if TYPE_CHECKING:
    from stepscope.study import Study
    from stepscope.watching import Concepts, ImageScorer, PipelineWatch, Saliency

__all__ = ["Filters", "StudyError", "open", "watch"]


def open(source: str | Path, **filters: Unpack[Filters]) -> Study:
    """Open a published study, read-only.

    Args:
        source: a results folder, a snapshot file (`.duckdb`), or the name of a folder under data/results.
        **filters: what every method shows unless it is told otherwise; see `Filters`.

    Returns:
        the study; a context manager that closes the database, which otherwise stays open as long as the object.

    Raises:
        StudyError: there is no such study, it cannot be read, or a filter names something that it does not have.
    """
    from stepscope.opening import open_study

    return open_study(source, filters)


def watch(
    pipe: Any,
    concepts: Concepts = (),
    scorer: str | Path | ImageScorer | None = None,
    attention: bool = False,
    saliency: Saliency = (),
) -> PipelineWatch:
    """Watch your own calls of a diffusers text-to-image pipeline inside a `with` block; the images keep their bits.

    Args:
        pipe: the pipeline, which may be loaded and placed in any way.
        concepts: what every step's image is compared with: names, or name -> phrasings whose embeddings are averaged.
        scorer: measures similarity (cosine, -1..1): a folder or name of open_clip, or an object with
            `images(tensor "n 3 h w" in [0, 1])` and `texts(list)`, which both return unit vectors "n d".
        attention: whether to record the attention of every word at every step, and its maps.
        saliency: tools whose maps are recorded: df-cam, df-rise, lime, relevance; or tool -> options of a study file's
            `[measures]`, such as `{"df-rise": {"steps": [5, 10], "masks": 200}}`. df-rise and lime call the denoiser
            hundreds of times a map and look at every fifth step unless told otherwise.

    Returns:
        a context manager; what it gives has `.images`, `.steps`, `.similarity`, `.words`, `.maps` and `.chart()`.

    Raises:
        StudyError: the pipeline's steps cannot be watched, a tool is not available for it, or there is no such tool or scorer.
    """
    from stepscope.watching import PipelineWatch

    return PipelineWatch(pipe, concepts, scorer, attention, saliency)
