"""What was seen of watched calls: tables, images, maps, a chart. Needs no torch."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

import altair as alt
import pandas as pd

from app.analysis.comparison import WHOLE
from app.charts import saliency
from app.charts.style import COLOURS, DASHES
from stepscope.errors import StudyError
from stepscope.pictures import Maps, Pictures

STEP = ["image", "step", "timestep", "alpha", "sigma", "log_snr", "call"]
SIMILARITY = ["image", "step", "log_snr", "concept", "similarity"]
WORDS = [
    "image",
    "step",
    "source",
    "layer_group",
    "word_index",
    "word",
    "mass",
    "scaled",
    "entropy",
]
IMAGES = ["image", "prompt", "step", "log_snr"]
MAPS = ["image", "prompt", "step", "method", "word", "height", "width", "low", "high"]


class Watched:
    """The images of the calls inside a `stepscope.watch` block, numbered from 0 in the order in which they were made."""

    def __init__(self, pipeline: str) -> None:
        self._pipeline = pipeline
        self._prompts: list[str] = []
        self._columns: list[dict[str, Any]] = []

    def add(self, prompt: str, columns: dict[str, Any]) -> None:
        """Add an image: its prompt and the columns of its recorders."""
        self._prompts.append(prompt)
        self._columns.append(columns)

    @property
    def prompts(self) -> list[str]:
        """The prompt of each image."""
        return list(self._prompts)

    @property
    def steps(self) -> pd.DataFrame:
        """One row per image and step: image, step (0 = the noisiest), timestep, alpha, sigma, log_snr, call (of a second-order step)."""
        return pd.DataFrame(self._rows("steps"), columns=STEP)

    @property
    def images(self) -> Pictures:
        """The predicted clean image x0 of every step, at full size; `.table` has image, prompt, step, log_snr.

        Raises:
            StudyError: no call was watched.
        """
        self._refuse_nothing()
        table = self.steps.assign(prompt=lambda rows: rows["image"].map(dict(enumerate(self._prompts))))  # fmt: skip
        files = [file for columns in self._columns for file in columns["denoised"]]
        return Pictures(table[IMAGES], tuple(files))

    @property
    def similarity(self) -> pd.DataFrame:
        """Cosine of every step's predicted clean image with each concept and with the prompt.

        Returns:
            image, step, log_snr, concept ("(whole prompt)" is the prompt itself), similarity (-1..1).

        Raises:
            StudyError: no call was watched, or without a scorer.
        """
        self._refuse_nothing()
        if "trajectories" not in self._columns[0]:
            raise StudyError('No similarity was measured: give watch a scorer, such as scorer="data/models/scenes-clip".')  # fmt: skip
        rows = [
            {"image": image, "step": step, "concept": name, "similarity": float(value)}
            for image, columns in enumerate(self._columns)
            for name, curve in curves_of(columns)
            for step, value in enumerate(curve)
        ]
        return pd.DataFrame(rows).merge(self.steps[["image", "step", "log_snr"]])[SIMILARITY]

    @property
    def words(self) -> pd.DataFrame:
        """What each word got at each step, by attention and by relevance, as far as they were asked for.

        Returns:
            image, step, source (attention or relevance), layer_group, word_index (-1 = special tokens), word; mass: share of
            attention among the words (0..1), of relevance the raw score; scaled: relevance in 0..1; entropy of the word's map (0..1).

        Raises:
            StudyError: no call was watched, or neither attention nor relevance was asked for.
        """
        self._refuse_nothing()
        rows = [
            {**{name: row[name] for name in ("source", "layer_group", "word_index", "word")},
             **{name: (row[name] or [None] * len(row["steps"]))[number] for name in ("mass", "scaled", "entropy")},
             "image": row["image"], "step": step}
            for row in self._rows("words")
            for number, step in enumerate(row["steps"])
        ]  # fmt: skip
        if not rows:
            raise StudyError('No words were measured: give watch attention=True, or saliency=["relevance"].')  # fmt: skip
        return pd.DataFrame(rows)[WORDS]

    @property
    def maps(self) -> Maps:
        """Saliency maps over the predicted clean images; word '' is a map of the whole prediction.

        Raises:
            StudyError: no call was watched, or no tool was asked for.
        """
        self._refuse_nothing()
        rows = self._rows("explanations")
        if not rows:
            raise StudyError('No maps were measured: give watch saliency=["df-cam"], or attention=True.')  # fmt: skip
        table = pd.DataFrame(rows)
        table["prompt"] = table["image"].map(dict(enumerate(self._prompts)))
        values = tuple(saliency.read_map(row) for _, row in table.iterrows())
        under = tuple(self._columns[row["image"]]["denoised"][row["step"]] for row in rows)
        return Maps(table[MAPS], values, under)

    def chart(self, image: int = 0) -> alt.Chart:
        """Similarity over the steps of one image, a line per concept.

        Raises:
            StudyError: as `similarity`.
        """
        rows = self.similarity
        rows = rows[rows["image"] == image]
        names = list(dict.fromkeys(rows["concept"]))
        many = [COLOURS[i % len(COLOURS)] for i in range(len(names))]
        dashes = [list(DASHES[i % len(DASHES)]) for i in range(len(names))]
        return alt.Chart(rows, width=480, height=260).mark_line(strokeWidth=2).encode(
            x=alt.X("step:Q", title="Step  (noise → image)", axis=alt.Axis(tickMinStep=1)),
            y=alt.Y("similarity:Q", title="Similarity (cosine)  ↑", scale=alt.Scale(zero=False)),
            color=alt.Color("concept:N", title="Concept", scale=alt.Scale(domain=names, range=many)),
            strokeDash=alt.StrokeDash("concept:N", scale=alt.Scale(domain=names, range=dashes)),
            tooltip=["concept:N", "step:Q", alt.Tooltip("similarity:Q", format=".3f")],
        )  # fmt: skip

    def __repr__(self) -> str:
        if not self._columns:
            return f"Watched {self._pipeline}: no call yet; call the pipeline inside the with block"
        steps = len(self._columns[0]["steps"])
        parts = [name for name, column in (("similarity", "trajectories"), ("words", "words"), ("maps", "explanations"))
                 if self._columns[0].get(column)]  # fmt: skip
        noun = "image" if len(self._prompts) == 1 else "images"
        return f"Watched {self._pipeline}: {len(self._prompts)} {noun} of {steps} steps; {', '.join(['steps', 'images', *parts])}"

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(repr(self))}</pre>"

    def _rows(self, column: str) -> list[dict[str, Any]]:
        """The rows of a column of all images, each with its image's number."""
        return [
            {**row, "image": image}
            for image, columns in enumerate(self._columns)
            for row in columns.get(column, ())
        ]

    def _refuse_nothing(self) -> None:
        if not self._columns:
            raise StudyError("No call was watched yet: call the pipeline inside the with block.")


def curves_of(columns: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Name and similarity per step of the whole prompt and of each concept."""
    concepts = [(row["concept"], row["similarity"]) for row in columns["trajectories"]]
    return [(WHOLE, columns["prompt_similarity"]), *concepts]
