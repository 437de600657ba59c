"""A published study: its tables, statistics, pictures and figures, by the functions that the dashboard calls."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, Unpack

import altair as alt
import duckdb
import pandas as pd
import pyarrow as pa

from app.analysis import comparison, emergence, image_sets
from app.analysis.measures import every_score
from app.database import statements
from app.database.snapshots import Snapshot
from app.figures import export, typeset, variants
from app.figures.parts import no_trajectories
from app.figures.source import AXIS_NAMES, Choice, Figure, FigureStudy, NotMeasured, study_on
from stepscope import pictures, tables
from stepscope.errors import StudyError
from stepscope.filters import FigureOptions, Filters, Names, Numbers, as_options, check_names
from stepscope.pictures import Maps, Pictures
from stepscope.refusals import check, one_line, unmeasured
from stepscope.summary import summary
from stepscope.tables import first_columns

FONT = 11.0  # of figures on a screen, in px
AXIS = 48.0  # px that a panel's vertical axis takes beside it


class Study:
    """A published study, read-only. `stepscope.open` makes one.

    Each table is a pandas data frame, which Arrow readers take as it is (`polars.DataFrame(frame)`,
    `pyarrow.table(frame)`). Numbers are those of the dashboard and of the figures: the same functions compute them.
    Every method takes `Filters`, which count in place of the study's own.
    """

    def __init__(
        self,
        path: str,
        snapshot: Snapshot,
        connection: duckdb.DuckDBPyConnection,
        filters: Filters,
    ) -> None:
        self._path, self._snapshot, self._connection = path, snapshot, connection
        self._filters = filters

    def where(self, **filters: Unpack[Filters]) -> Study:
        """The same study with these filters in every method; it shares the open database.

        >>> study.where(models=["UNet", "Transformer"], seeds=0).models["label"].tolist()
        ['UNet', 'Transformer']

        Raises:
            StudyError: a filter that there is not, or a value that the study does not have.
        """
        check_names(filters, Filters)
        merged: Any = {**self._filters, **filters}
        study = Study(self._path, self._snapshot, self._connection, merged)
        study._view({})
        return study

    def close(self) -> None:
        """Close the database; of every study that shares it."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return summary(self._view({}), dict(self._filters))

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(repr(self))}</pre>"

    def _view(
        self, filters: Mapping[str, Any], allowed: type = Filters, **chosen: Any
    ) -> FigureStudy:
        """The part of the study that the filters leave, as figures and the functions of `app.analysis` take it.

        Args:
            filters: in place of the study's own.
            allowed: the names that they may have.
            **chosen: further fields of `Choice`; None = not chosen.
        """
        check_names(filters, allowed)
        picked = {name: value for name, value in chosen.items() if value is not None}
        options = as_options(Choice, {**self._filters, **filters, **picked})
        check(options.get("axis", ""), "axis", ("", *AXIS_NAMES))
        check(options.get("pairs", ""), "pairs", ("", "named", "all"))
        with one_line():
            return study_on(self._connection, self._path, self._snapshot, Choice(**options))

    # Tables

    @property
    def name(self) -> str:
        """The study's name, as its file has it."""
        return str(self._view({}).study["name"])

    @property
    def models(self) -> pd.DataFrame:
        """One row per model, in the study's order: model_id, name, label (what charts show), source, scheduler, steps, ..."""
        return self._view({}).models.reset_index(drop=True)

    @property
    def prompts(self) -> pd.DataFrame:
        """One row per prompt: prompt_id (from 1), prompt_key (hash of the text), text, category, roles (JSON), words, source."""
        return self._view({}).ask_scope("prompts")

    @property
    def concepts(self) -> pd.DataFrame:
        """One row per concept of the bank: concept_id, name, family."""
        return self._view({}).concepts.reset_index(drop=True)

    @property
    def metrics(self) -> pd.DataFrame:
        """One row per score of final images: metric ('' = the CLIP score), title, better (higher or lower), level, source
        (the scorer), preprocessing."""
        scores = every_score(self._view({}))
        names = ("metric", "title", "better", "level", "source", "preprocessing")
        return pd.DataFrame({name: [getattr(s, name) for s in scores] for name in names})

    @property
    def image_sets(self) -> pd.DataFrame:
        """One row per saved measure of all final images of a model (`scores sets --save`): model, measure, better, value, low, high
        (95 % interval over prompts), images, prompts, reference (label of an entry, or ''), extractor, method, outdated, ..."""
        return image_sets.table(self._view({}))

    @property
    def figures(self) -> pd.DataFrame:
        """One row per kind of figure that `figure` and `export` make: name, title, group."""
        kinds = export.KINDS.values()
        return pd.DataFrame({name: [getattr(kind, name) for kind in kinds] for name in ("name", "title", "group")})  # fmt: skip

    # Statistics

    def scores(
        self, by: Literal["model", "prompt"] = "model", **filters: Unpack[Filters]
    ) -> pd.DataFrame:
        """A score of the final images: the CLIP score (cosine with its prompt, -1..1, higher is better), or one of `metrics`.

        >>> study.scores()[["rank", "model", "prompts"]].to_dict("records")[0]
        {'rank': '=1', 'model': 'UNet', 'prompts': 24}

        Args:
            by: model: ranked by the paired tests of all pairs, the best first; prompt: one row per model and prompt, seeds
                averaged.
            **filters: see `Filters`; `metric` names a score in place of the CLIP score.

        Returns:
            of models: model_id, rank (= where several share one), model, mean, low, high (95 % t interval over prompts), sd,
            prompts. Of prompts: model_id, model, prompt_id, category, score, seeds.

        Raises:
            StudyError: no sample is finished within the filters, or as `where`.
        """
        check(by, "by", ("model", "prompt"))
        view = self._view(filters)
        rows = comparison.ranking(view) if by == "model" else view.labelled(comparison.scores(view))
        if rows.empty:
            raise unmeasured(no_trajectories())
        return rows if by == "model" else first_columns(rows, ["model_id", "model"])

    def curves(self, concepts: Names | None = None, **filters: Unpack[Filters]) -> pd.DataFrame:
        """Mean similarity of the predicted clean image with each concept, per model and step.

        >>> study.curves("cat", models="UNet")["step"].tolist()
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]

        Args:
            concepts: names; "(whole prompt)" is the prompt itself. None = the whole prompt and all concepts of the filters.
            **filters: see `Filters`.

        Returns:
            model_id, model, concept_id, concept, family, step (0 = the noisiest), timestep, log_snr, progress (0..1); mean
            (cosine, -1..1), low, high (95 % t interval over prompts, seeds averaged first), sd, rise (above the curve's
            lowest), r_final (correlation over prompts with the last step); prompts, samples.

        Raises:
            StudyError: no sample is finished within the filters, no such concept, or as `where`.
        """
        table = tables.curves(self._view(filters), concepts)
        if table.empty:
            raise unmeasured(no_trajectories())
        return table

    def emergence(
        self,
        by: Literal["concept", "family"] = "concept",
        concepts: Names | None = None,
        **filters: Unpack[Filters],
    ) -> pd.DataFrame:
        """When each concept, or family of concepts, emerges; the earliest first.

        >>> sorted(set(study.emergence(by="family", models="UNet")["family"]))
        ['colour', 'object', 'size', 'texture']

        Args:
            by: concept or family.
            concepts: names; None = all within the filters.
            **filters: see `Filters`; `axis` decides the unit of mean, low, high and the quartiles.

        Returns:
            model_id, model, concept and family; rank within the model; mean: Kaplan-Meier restricted mean, low, high: 95 % t
            interval over n prompts, sd; start_share, emerges_share, never_share (0..1); median, q1, q3 over samples.

        Raises:
            StudyError: fewer than 19 prompts do not name a concept, so that presence cannot be judged; or as `curves`.
        """
        check(by, "by", ("concept", "family"))
        view = self._view(filters)
        ids = None if concepts is None else [i for i in tables.concept_ids(view, concepts) if i]
        named, axis = view.basis()
        table = emergence.ranked(view, by, named=named, axis=axis, concepts=ids)
        if table.empty:
            raise unmeasured(NotMeasured(emergence.NOT_ENOUGH, "Leave a filter out if concepts are missing."))  # fmt: skip
        return first_columns(table.drop(columns="place"), ["model_id", "model", by, "rank"])

    def compare(
        self,
        baseline: str,
        candidate: str,
        by: Literal["measure", "step"] = "measure",
        **filters: Unpack[Filters],
    ) -> pd.DataFrame:
        """What differs between two models, paired by prompt: candidate minus baseline.

        >>> study.compare("UNet", "UNet (quarter)").set_index("measure").loc["CLIP score", "said"]
        'worse'

        The family of tests is the question's, over all models within the filters, as on the page Models: naming two models
        here changes no correction.

        Args:
            baseline: label or name.
            candidate: label or name.
            by: measure: CLIP score, final similarity and emergence of each family; step: similarity per concept and step.
            **filters: see `Filters`; `axis` decides at what two models' steps are matched.

        Returns:
            of measures: measure, better (its better direction), said (better, worse, ... or the verdict), verdict, difference,
            low, high (95 % t interval over prompts), p, q (Holm), wilcoxon, d_z, cliffs_delta, win_rate (0..1), needed, prompts.
            Of steps: concept ("(whole prompt)" first), family, step (of the baseline), mean, low, high, d_z, p, q (Benjamini and
            Hochberg), significant, prompts.

        Raises:
            StudyError: no such model, the same model twice, no finished prompt in common, or as `where`.
        """
        check(by, "by", ("measure", "step"))
        view = self._view(filters)
        with one_line():
            pair = view.model_id(baseline), view.model_id(candidate)
        if pair[0] == pair[1] or pair[1] not in view.scope.models:
            why = (
                "is the baseline too" if pair[0] == pair[1] else "is left out by the filter models"
            )
            raise StudyError(
                f"candidate: {candidate!r} {why}. Models: {', '.join(view.models['label'])}."
            )
        table = tables.measures(view, *pair) if by == "measure" else tables.grid(view, *pair)
        if table.empty:
            raise StudyError(f"{baseline!r} and {candidate!r} share no finished prompt within the filters. Leave a filter out, or run the rest of the study.")  # fmt: skip
        return table.reset_index(drop=True)

    def costs(
        self, distance: str = "", threshold: float = 0.0, **filters: Unpack[Filters]
    ) -> pd.DataFrame:
        """What each sampled entry takes and gives: seconds, peak memory and score, and who is on the Pareto front.

        >>> study.costs().set_index("model")["verdict"]["UNet (quarter)"]
        'dominated'

        Args:
            distance: name of a distance to a reference entry (`study.metrics`); '' = the study's first, if it has one.
            threshold: of that distance, from which two images count as different; 0 = that of its kind.
            **filters: see `Filters`; `metric` names the score, `axis` says on what it is told where entries part.

        Returns:
            model_id, model, reference; verdict (front, undecided, dominated or not judged), dominated_by; seconds per image over batches;
            memory_gb (GB of 2^30 bytes, NaN = not recorded), memory_kind; score over prompts; distance to the reference entry; parts (where
            it stays beyond the threshold), rank, start_share, later_share, never_share, said; each with its 95 % limits _low and _high.

        Raises:
            StudyError: no sampled entry has a finished sample within the filters, no such distance, or as `where`.
        """
        view = self._view(filters, distance=distance, threshold=threshold)
        with one_line():
            table = variants.costs(view)
        if table.empty:
            raise unmeasured(no_trajectories())
        return table

    # Pictures

    def images(
        self,
        prompts: Names | Numbers | None = None,
        step: int | None = None,
        seed: int | None = None,
        **filters: Unpack[Filters],
    ) -> Pictures:
        """Images of some prompts by every model: the final ones, or the predicted clean images at a step.

        >>> study.images(prompts=[1, 2], models="UNet")[0].size
        (32, 32)

        Args:
            prompts: prompt_id or prompt_key; None = the first 8 that have images.
            step: a denoising step with a frame; None = the final image.
            seed: of the samples; None = the first one of the filters.
            **filters: see `Filters`.

        Returns:
            PIL images (RGB); `.table` has model_id, model, prompt_id, prompt, seed, step, score.

        Raises:
            StudyError: no image, no frame of that step (names those that there are), no such prompt, or as `where`.
        """
        view = self._view(filters, prompts=prompts, steps=step, seeds=seed)
        with one_line():
            return pictures.images(view)

    def maps(
        self,
        prompts: Names | Numbers | None = None,
        methods: Names | None = None,
        steps: Numbers | None = None,
        words: bool = False,
        **filters: Unpack[Filters],
    ) -> Maps:
        """Saliency maps: which region each explanation method finds important at a step.

        >>> study.maps(methods="df-cam", models="UNet", steps=4)[0].shape
        (8, 8)

        Args:
            prompts: prompt_id or prompt_key; None = the first one that has maps.
            methods: df-rise, df-cam, lime, attention, relevance, random; None = all that were recorded.
            steps: denoising steps; None = all that were recorded.
            words: whether maps of single words, not of the whole prediction.
            **filters: see `Filters`; of the first seed that has maps.

        Returns:
            arrays "h w" in the method's own unit; `.table` has model_id, model, prompt_id, prompt, seed, step, method, word,
            height, width, low, high.

        Raises:
            StudyError: no such map was recorded (says how to record it), no such prompt, or as `where`.
        """
        view = self._view(filters, prompts=prompts, methods=methods, steps=steps)
        with one_line():
            return pictures.maps(view, words)

    # Figures

    def figure(
        self, name: str, width: float = 640, **options: Unpack[FigureOptions]
    ) -> alt.TopLevelMixin:
        """A figure of the gallery as an Altair chart; `figures` lists them.

        >>> study.figure("emergence", models="UNet").to_dict()["description"][:27]
        'Emergence of each family, o'

        Args:
            name: such as "emergence" or "paired-differences".
            width: of the panels with their vertical axes, in px; about, as labels differ.
            **options: see `FigureOptions`.

        Returns:
            the chart; its description is the figure's caption.

        Raises:
            StudyError: no figure of that name, the study lacks what it shows (says how to record it), or as `where`.
        """
        figure = self._figure(name, options)[1]
        panel = width / figure.panels - AXIS
        chart: Any = figure.draw(max(panel, 20.0))
        theme = {**typeset.theme(FONT), "font": "sans-serif"}
        return chart.properties(description=figure.caption, background="white").configure(**theme)

    def figure_data(self, name: str, **options: Unpack[FigureOptions]) -> pd.DataFrame:
        """The rows that a figure shows: what its CSV file holds. Arguments and errors as `figure`."""
        return self._figure(name, options)[1].data.reset_index(drop=True)

    def export(
        self,
        name: str,
        folder: str | Path,
        venue: str = "neurips",
        columns: Literal[1, 2] = 1,
        **options: Unpack[FigureOptions],
    ) -> list[Path]:
        """Write a figure for print: PDF, SVG, PNG, CSV, Vega-Lite, LaTeX, caption, and a manifest that reproduces it.

        Args:
            name: as in `figure`.
            folder: where the files go; made if it is not there.
            venue: neurips, iclr, icml, cvpr, aaai or acl.
            columns: of the venue's page, 1 or 2.
            **options: see `FigureOptions`.

        Raises:
            StudyError: no such venue, or as `figure`.
            OSError: a file cannot be written.
        """
        check(venue, "venue", tuple(export.VENUES))
        check(columns, "columns", (1, 2))
        check(name, "name", tuple(export.KINDS))
        view = self._view(options, FigureOptions)
        with one_line():
            return export.write(
                export.export(view, export.KINDS[name], venue, columns), Path(folder)
            )

    def _figure(self, name: str, options: Mapping[str, Any]) -> tuple[FigureStudy, Figure]:
        check(name, "name", tuple(export.KINDS))
        view = self._view(options, FigureOptions)
        with one_line():
            return view, export.build(view, export.KINDS[name])

    # SQL

    def sql(self, text: str, parameters: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """The rows of a statement on the snapshot, as a data frame; `arrow` keeps the database's own types.

        >>> study.sql("SELECT count(*) AS samples FROM sample WHERE seed = $seed", {"seed": 0})["samples"][0].item()
        72

        Filters do not count. The connection reads this snapshot and nothing else: no file, no network, no change. The
        macros of docs/architecture.md (`scoped_prompt`, `counted_pair`, ...) are there.

        Args:
            text: DuckDB's SQL; pipeline/database/schema.sql describes the tables.
            parameters: of `$name` in the text.

        Raises:
            StudyError: what DuckDB says of the statement.
        """
        with self._asked(text, parameters) as answer:
            return answer.df()

    def arrow(self, text: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        """As `sql`, as an Arrow table: lists, integers with NULL and bytes keep their types."""
        with self._asked(text, parameters) as answer:
            return answer.to_arrow_table()

    @contextmanager
    def _asked(
        self, text: str, parameters: Mapping[str, Any] | None
    ) -> Iterator[duckdb.DuckDBPyRelation]:
        scorer = self._view({}).snapshot.scorer
        try:
            with self._connection.cursor() as cursor:
                statements.use_scorer(cursor, scorer)
                for macro in statements.every_macro():
                    cursor.execute(statements.statement(macro)[0])
                rows = cursor.sql(text, params=dict(parameters) if parameters else None)
                if rows is None:
                    raise StudyError("sql: the statement returns no rows. Give a SELECT.")
                yield rows
        except duckdb.Error as error:
            raise StudyError(f"sql: {' '.join(str(error).split())}") from None
