"""The commands for scores beside the CLIP score: scores add, head, sets, distance, list, remove."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.cli.database import publish_and_show
from pipeline.cli.study import device_name
from pipeline.cli.terminal import complain, say
from pipeline.errors import StepscopeError, StoreError

if TYPE_CHECKING:
    import pyarrow as pa

    from pipeline.database.image_sets import SetMeasure
    from pipeline.results.folder import Results
    from pipeline.results.scores import Metric, ScoreFiles

LEVELS = {"image": "per image", "prompt": "per prompt", "step": "per step"}
DESCRIPTION = (
    "Puts scores that any other program gave this study's images beside its shards: HPSv3, ImageReward, VQAScore, a detector, "
    "people. Publish afterwards, and every page, review, figure and gate can use them as it uses the CLIP score. "
    "docs/bring-your-own.md shows how to compute them."
)


_TEXTS = (
    (
        "--metric",
        True,
        "NAME",
        "a-z, 0-9, '.', '_', '-': what commands call it; links take the title",
    ),
    ("--value", False, "COLUMN", "column of the values; the metric's name, else 'value'"),
    ("--title", False, "TEXT", "what charts show; the metric's name"),
    ("--source", True, "TEXT", "the scorer: program, model and version; shown beside every number"),
    (
        "--preprocessing",
        False,
        "TEXT",
        "how images and texts were prepared; shown beside every number",
    ),
)


def add_arguments(commands: argparse._SubParsersAction) -> None:
    """Adds the commands; each sets `handler`, a function of the parsed arguments."""
    scores = commands.add_parser(
        "scores",
        help="add scores that another program computed: add, list, remove",
        description=DESCRIPTION,
    )
    parts = scores.add_subparsers(required=True, metavar="COMMAND")
    _add_add(parts)
    _add_head(parts)
    _add_sets(parts)
    _add_distance(parts)
    listed = parts.add_parser("list", help="the scores that were added")
    listed.add_argument("folder", type=Path, metavar="DIR")
    listed.add_argument("--json", action="store_true", help="for scripts")
    listed.set_defaults(handler=_list)
    remove = parts.add_parser("remove", help="remove a score")
    remove.add_argument("folder", type=Path, metavar="DIR")
    remove.add_argument("metric", metavar="NAME")
    remove.set_defaults(handler=_remove)


def _add_add(parts: argparse._SubParsersAction) -> None:
    add = parts.add_parser(
        "add",
        help="add the scores of a file, in place of those of the same name",
        description="A row is matched by the column sample_id, or by model, prompt_key or prompt (the text) and seed; rows "
        "that match no sample are counted and named. Without seeds the scores are per prompt; with a column step, per step. "
        "Exits 1 where rows were left out.",
    )
    add.add_argument("folder", type=Path, metavar="DIR", help="results folder")
    add.add_argument("file", type=Path, metavar="FILE", help=".csv, .jsonl or .parquet")
    for name, required, metavar, text in _TEXTS:
        add.add_argument(name, required=required, default="", metavar=metavar, help=text)
    better = "as for a distance; higher is better otherwise"
    add.add_argument("--lower-is-better", action="store_true", help=better)
    limits = "of possible values; others are refused"
    add.add_argument("--range", nargs=2, type=float, metavar=("LOW", "HIGH"), help=limits)
    add.add_argument(
        "--benchmark",
        default="",
        choices=("geneval", "geneval2", "t2i-compbench"),
        help="FILE is the results.jsonl, score_lists.json or vqa_result.json of that benchmark's own evaluator, of one model",
    )
    add.add_argument(
        "--model", default="", metavar="NAME", help="with --benchmark: whose results they are; those of other models stay"
    )  # fmt: skip
    add.set_defaults(handler=_add)


def _add_head(parts: argparse._SubParsersAction) -> None:
    head = parts.add_parser(
        "head",
        help="add the scores of a linear head, such as an aesthetic predictor, at every step",
        description="Applies a linear head to the CLIP vectors that the study recorded (embeddings = true), at every step, and adds "
        "the result as a metric. The head must be one for the study's first scorer.",
    )
    head.add_argument("folder", type=Path, metavar="DIR", help="results folder")
    head.add_argument("file", type=Path, metavar="FILE", help="the head, .safetensors")
    for name, required, metavar, text in _TEXTS:
        if name in ("--metric", "--title", "--source"):
            head.add_argument(name, required=required, default="", metavar=metavar, help=text)
    head.set_defaults(handler=_head)


def _add_sets(parts: argparse._SubParsersAction) -> None:
    sets = parts.add_parser(
        "sets",
        help="diversity of each model's images, and distance to a reference entry: Vendi, KID, CMMD, coverage",
        description="Of the CLIP vectors that the study recorded (embeddings = true), with 95 %% intervals over prompts. They are "
        "not Inception's features: compare the numbers within a study, never with published ones. With --save the page Models "
        "shows them after the next publish.",
    )
    sets.add_argument("folder", type=Path, metavar="DIR", help="results folder")
    sets.add_argument(
        "--reference", default="", metavar="MODEL", help="entry that the others are held against"
    )
    sets.add_argument(
        "--features",
        type=Path,
        metavar="FILE",
        help="safetensors with sample_id and features of another program, such as Inception's: FID, KID and coverage of these",
    )
    sets.add_argument("--extractor", default="", metavar="TEXT", help="the program and model that computed the features")  # fmt: skip
    sets.add_argument("--save", action="store_true", help="keep the numbers in DIR, in place of those of the same measure, reference and extractor")  # fmt: skip
    sets.add_argument("--clear", action="store_true", help="remove all that were kept, and measure nothing")  # fmt: skip
    sets.add_argument("--json", action="store_true", help="for scripts")
    sets.set_defaults(handler=_sets)


def _add_distance(parts: argparse._SubParsersAction) -> None:
    distance = parts.add_parser(
        "distance",
        help="compute what is missing of the study's distances to reference entries: LPIPS, DINO",
        description="A run does this at its end. After runs of parts it is a command of its own, for it needs the images of all "
        "parts. What is done is kept; the same command resumes.",
    )
    distance.add_argument("folder", type=Path, metavar="DIR", help="results folder")
    distance.add_argument("--device", type=device_name, default="auto", help="auto, cpu, cuda, cuda:1, mps")  # fmt: skip
    distance.add_argument("--publish", action="store_true", help="publish afterwards")
    distance.set_defaults(handler=_distance)


def _distance(options: argparse.Namespace) -> int:
    from pipeline.engine.distances import measure_distances
    from pipeline.results.folder import Results
    from pipeline.results.record import load_plan

    results, problem = Results(options.folder), ""
    plan = load_plan(results)
    if not plan.study.distances:
        raise StoreError(
            f"{options.folder}: its study has no [[distance]]. Add one to the study file and run it: no image is made again."
        )
    try:
        with results.locked():
            for line in measure_distances(plan, results, options.device):
                say(line)
    except StepscopeError as error:
        if not options.publish:
            raise
        problem = str(error)
        complain(f"no distances: {problem}")
    if not options.publish:
        say(f"publish to see them: python -m pipeline publish {options.folder}")
        return 0
    return 1 if publish_and_show(options.folder) or problem else 0


def _add(options: argparse.Namespace) -> int:
    import msgspec
    import pyarrow as pa

    from pipeline.results.folder import Results
    from pipeline.results.record import load_plan
    from pipeline.results.score_input import read_scores
    from pipeline.results.scores import ScoreFiles

    low, high = options.range or (None, None)
    metric = _metric(options, options.preprocessing, options.lower_is_better, (low, high))
    results = Results(options.folder)
    plan = load_plan(results)
    if bool(options.benchmark) != bool(options.model):
        raise StoreError("--benchmark and --model go together: the results are those of one model.")
    matched = read_scores(
        options.file, plan, options.value, options.metric, (low, high), options.benchmark, options.model
    )  # fmt: skip
    metric = msgspec.structs.replace(metric, level=matched.level)
    files = ScoreFiles(results)
    more = [_of_others(files, metric, options.model)] if options.benchmark else []
    stored = files.add(metric, pa.concat_tables([*more, matched.table]))
    say(f"{stored.name}: {stored.rows:,} values {LEVELS[stored.level]} in {results.folder}")
    for number, what in ((matched.unmatched, "match no sample"), (matched.empty, "have no value")):
        if number:
            complain(f"{number:,} rows {what} and were left out")
    for example in matched.examples:
        complain(f"  {example}")
    say(f"publish to see them: python -m pipeline publish {options.folder}")
    return 1 if matched.unmatched else 0


def _of_others(files: ScoreFiles, metric: Metric, model: str) -> pa.Table:
    """What a metric has of other models already.

    Raises:
        StoreError: the metric is of another level or scorer, or its file is damaged.
    """
    import pyarrow.compute as pc

    from pipeline.results.scores import SCHEMA

    before = next((each for each in files.metrics() if each.name == metric.name), None)
    if before is None:
        return SCHEMA.empty_table()
    if (before.level, before.source) != (metric.level, metric.source):
        raise StoreError(
            f"metric {metric.name!r} was added {LEVELS[before.level]} by {before.source!r}. Give the same --source, another "
            "--metric, or remove it first."
        )
    table = files.table(before)
    return table.filter(pc.not_equal(table["model"], model))


def _metric(
    options: argparse.Namespace,
    preprocessing: str,
    lower: bool = False,
    limits: tuple[float | None, float | None] = (None, None),
) -> Metric:
    """The metric that the options describe, without its values. Raises StoreError that names what is wrong."""
    from pipeline.results.scores import Metric, check_metric
    from pipeline.results.shards import now

    title = options.title or options.metric
    metric = Metric(
        options.metric,
        title,
        lower,
        *limits,
        options.source,
        preprocessing,
        "image",
        1,
        "0" * 64,
        now(),
    )
    try:
        check_metric(metric)
    except ValueError as error:
        raise StoreError(f"scores: {error}.") from None
    return metric


def _head(options: argparse.Namespace) -> int:
    import msgspec

    from pipeline.database.linear_heads import head_scores, read_head
    from pipeline.results.folder import Results
    from pipeline.results.record import load_plan
    from pipeline.results.scores import ScoreFiles

    results = Results(options.folder)
    plan = load_plan(results)
    used = plan.study.scorer
    prepared = f"unit vectors of {used.source}{f' ({used.pretrained})' if used.pretrained else ''}"
    metric = _metric(options, prepared[:200])
    table = head_scores(results, plan, read_head(options.file))
    stored = ScoreFiles(results).add(msgspec.structs.replace(metric, level="step"), table)
    say(f"{stored.name}: {stored.rows:,} values per step in {results.folder}")
    say(f"publish to see them: python -m pipeline publish {options.folder}")
    return 0


def _sets(options: argparse.Namespace) -> int:
    from dataclasses import asdict

    from pipeline.database.image_sets import measure_sets, save_sets
    from pipeline.results.folder import Results

    results = Results(options.folder)
    if options.clear:
        return _clear_sets(results)
    if options.extractor and not options.features:
        raise StoreError("--extractor: names what computed the --features; without them it is the study's scorer.")  # fmt: skip
    if options.save and options.features and not options.extractor:
        raise StoreError("--save --features: needs --extractor, the program and model that computed the features.")  # fmt: skip
    rows = measure_sets(results, options.reference, options.features, options.extractor)
    if options.save:
        save_sets(results, rows)
    if options.json:
        plain = [{k: None if v != v else v for k, v in asdict(row).items()} for row in rows]
        say(json.dumps(plain))
        return 0
    _show_sets(rows)
    if options.save:
        say(f"saved; publish to see them: python -m pipeline publish {options.folder}")
    return 0


def _clear_sets(results: Results) -> int:
    from pipeline.results.record import load_plan
    from pipeline.results.saved_sets import SetFile

    load_plan(results)
    say(f"{SetFile(results).clear()} measures of sets removed; publish to take them off the pages")
    return 0


def _show_sets(rows: Sequence[SetMeasure]) -> None:
    import math

    from pipeline.tables import terminal_table

    cells = [
        (r.model, r.measure, r.better, f"{r.value:.4g}",
         f"[{r.low:.4g}, {r.high:.4g}]" if math.isfinite(r.low) else "too few prompts", r.images, r.prompts)
        for r in rows
    ]  # fmt: skip
    head = ("model", "measure", "better", "value", "95 %", "images", "prompts")
    say(terminal_table(head, cells, text="<<<>>>>"))


def _list(options: argparse.Namespace) -> int:
    import msgspec

    from pipeline.results.folder import Results
    from pipeline.results.scores import ScoreFiles
    from pipeline.tables import terminal_table

    metrics = ScoreFiles(Results(options.folder)).metrics()
    if options.json:
        say(json.dumps(msgspec.to_builtins(metrics)))
        return 0
    if not metrics:
        say(f"{options.folder}: no scores were added; the CLIP score is the study's own")
        return 0
    rows = [
        (
            m.name,
            m.title,
            "lower" if m.lower_is_better else "higher",
            LEVELS[m.level],
            m.rows,
            m.source,
            m.preprocessing,
        )
        for m in metrics
    ]
    say(
        terminal_table(
            ("name", "title", "better", "level", "values", "scorer", "preprocessing"),
            rows,
            text="<<<<><<",
        )
    )
    return 0


def _remove(options: argparse.Namespace) -> int:
    from pipeline.results.folder import Results
    from pipeline.results.scores import ScoreFiles

    ScoreFiles(Results(options.folder)).remove(options.metric)
    say(
        f"{options.metric}: removed; publish to take it off the pages: python -m pipeline publish {options.folder}"
    )
    return 0
