"""The command line: python -m pipeline run | publish | status | verify | diff | merge | gc | export | migrate | demo."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import StepscopeError

if TYPE_CHECKING:
    from pipeline.engine import Outcome
    from pipeline.plan import Plan
    from pipeline.study import Study

RESULTS = Path("data/results")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status: 0 well, 1 something failed, 2 a user's mistake, 130 stopped by Ctrl-C."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.handler(options) or 0)
    except StepscopeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pipeline", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="sample, observe and explain a study, then publish it")
    run.add_argument("study", type=Path, metavar="STUDY.toml")
    run.add_argument(
        "--out", type=Path, metavar="DIR", help="results folder; data/results/<study> by default"
    )
    run.add_argument("--limit", type=_positive, metavar="N", help="only the first N prompts")
    run.add_argument(
        "--device", type=_device, default="auto", help="auto, cpu, cuda (every GPU), cuda:1, mps"
    )
    run.add_argument(
        "--seeds", type=int, nargs="+", metavar="SEED", help="in place of the study's seeds"
    )
    run.add_argument("--plan", action="store_true", help="only say what it would cost")
    run.add_argument("--no-publish", action="store_true", help="leave the snapshot as it is")
    run.add_argument(
        "--engine",
        default="local",
        choices=("local", "ray"),
        help="processes here, or a Ray cluster",
    )
    run.add_argument("--address", metavar="HOST:PORT", help="of the Ray cluster; 'auto' finds it")
    run.add_argument(
        "--workers", type=_positive, metavar="N", help="by default one per GPU, or one on the CPU"
    )
    run.add_argument("--threads", type=_positive, metavar="N", help="CPU threads of each worker")
    run.add_argument(
        "--shards", metavar="PLACE", help="a folder or s3://, gs://, abfs:// place for the shards"
    )
    run.add_argument("--retry", action="store_true", help="also units set aside after three tries")
    run.add_argument("--price", type=float, metavar="X", help="of a worker's hour, for --plan")
    run.set_defaults(handler=_run)

    publish = commands.add_parser("publish", help="build a new snapshot of what is finished")
    publish.add_argument(
        "folder", type=Path, metavar="DIR", help="results folder, or the study file"
    )
    publish.set_defaults(handler=_publish)

    status = commands.add_parser("status", help="count samples by state")
    status.add_argument("folder", type=Path, metavar="DIR")
    status.add_argument("--json", action="store_true", help="for scripts")
    status.set_defaults(handler=_status)

    verify = commands.add_parser("verify", help="compute every hash of a results folder again")
    verify.add_argument("folder", type=Path, metavar="DIR")
    verify.set_defaults(handler=_verify)

    schedulers = commands.add_parser(
        "schedulers", help="which schedulers a model can be sampled with"
    )
    schedulers.add_argument("model", metavar="MODEL", help="a pipeline's folder, or a Hub id")
    schedulers.add_argument("--revision", metavar="REV", help="of a Hub id")
    schedulers.set_defaults(handler=_schedulers)

    from pipeline import upkeep

    upkeep.add_arguments(commands)

    demo = commands.add_parser("demo", help="the bundled models: train, evaluate, ...")
    from pipeline.demo.cli import add_arguments

    add_arguments(demo.add_subparsers(required=True, metavar="COMMAND"))
    return parser


def _schedulers(options: argparse.Namespace) -> None:
    from pipeline.schedulers import show

    print(show(options.model, options.revision))


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text}: give a whole number from 1")
    return value


def _device(text: str) -> str:
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d{1,3})?", text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no device: give auto, cpu, cuda (every GPU), cuda:1 (that one) or mps"
        )
    return text


def _run(options: argparse.Namespace) -> int:
    from pipeline import engine
    from pipeline.concepts import read_concepts
    from pipeline.plan import find_revisions, plan
    from pipeline.prompts import read_prompts
    from pipeline.study import load_study

    study = load_study(options.study, options.seeds, options.limit)
    prompts = read_prompts(study.prompts)
    bank = read_concepts(study.concepts)
    _check_folders(study)
    made = plan(study, find_revisions(study), prompts.prompts, bank)
    repeats = f", {prompts.duplicates} repeated prompts left out" if prompts.duplicates else ""
    print(
        f"{study.name}: {len(study.models)} models x {len(prompts)} prompts x {len(study.seeds)} seeds = "
        f"{made.samples:,} images in {len(made):,} work units{repeats}"
    )
    _check_models(made)
    if options.plan:
        from pipeline import estimate

        costs = estimate.estimate(made, options.device)
        print(estimate.show(costs))
        print(estimate.show_workers(costs, options.workers or 1, options.price))
        return 0
    _check_models(made, hub=True)
    folder = options.out or RESULTS / study.name
    outcome = engine.run(
        made,
        folder,
        options.device,
        duplicates=prompts.duplicates,
        engine=engine.Engine(options.engine, options.workers, options.threads, options.address),
        shards=options.shards,
        retry=options.retry,
    )
    _report(outcome, folder)
    if outcome.interrupted:
        print(f"Stopped. Finished work is kept in {folder}; the same command goes on from there.")
        return 130
    damaged = not options.no_publish and _publish_and_show(folder)
    return 1 if outcome.errors or outcome.failed or damaged else 0


def _check_folders(study: Study) -> None:
    """Raises what is wrong with the files of models and scorers, before they are hashed or loaded."""
    from pipeline.model_files import check_scorer_folder
    from pipeline.models import check_model

    for spec in study.models:
        check_model(spec)
    for scorer in study.scorers:
        check_scorer_folder(scorer)


def _check_models(made: Plan, hub: bool = False) -> None:
    """Raises what is wrong with a model or a measure before any sampling; says what a model will leave out.

    Args:
        made: the plan.
        hub: of the models that are on the Hub, which takes the network; else of those in folders.
    """
    from pipeline.calls import check_call, check_compiled, inspect_model
    from pipeline.explain.checks import check_measures, facts_of
    from pipeline.schedulers import check_named
    from pipeline.scorer import check_scorer

    for scorer in made.study.scorers:
        check_scorer(scorer)
    texts = [prompt.text for prompt in made.prompts]
    for spec in made.study.models:
        check_compiled(spec, made.study.measures.of(spec.name))
        if Path(spec.source).is_dir() == hub:
            continue
        model = inspect_model(spec)
        check_named(model)
        notices = check_call(model, texts) + check_measures(
            made.study.measures.of(spec.name), facts_of(model, texts)
        )
        for notice in notices:
            print(notice)


def _report(outcome: Outcome, folder: Path) -> None:
    print(
        f"{outcome.units} work units run in {outcome.seconds:.0f} s, {outcome.kept} were there already"
    )
    if outcome.failed:
        print(
            f"{outcome.failed} samples failed: `python -m pipeline status {folder}`; running again retries them"
        )
    for error in outcome.errors:
        print(f"failed unit: {error}", file=sys.stderr)


def _publish(options: argparse.Namespace) -> int:
    folder = options.folder
    if folder.suffix == ".toml":
        from pipeline.study import load_study

        folder = RESULTS / load_study(folder).name
    return 1 if _publish_and_show(folder) else 0


def _publish_and_show(folder: Path) -> bool:
    """Publishes and prints what was found. Returns whether shards were damaged."""
    from pipeline.database.publish import publish
    from pipeline.findings import findings

    published = publish(folder)
    print(f"published {published.path}\n")
    print(findings(published.path))
    if published.missing:
        print(f"{published.missing:,} samples are missing yet: run the study to make them")
    for unit_id in published.damaged_units:
        print(f"damaged: shards/{unit_id}.parquet; the next run makes it anew", file=sys.stderr)
    return bool(published.damaged_units)


def _status(options: argparse.Namespace) -> int:
    from pipeline.database.publish import read_pointer
    from pipeline.progress import count_states
    from pipeline.results import load_plan
    from pipeline.shards import Results

    results = Results(options.folder)
    made = load_plan(results)
    states = count_states(results, made, results.read_ledger())
    snapshot = None
    if results.current.is_file():
        snapshot = str(read_pointer(results)[0])
    if options.json:
        print(json.dumps({"study": made.study.name, **states, "snapshot": snapshot}))
        return 0
    share = 100 * states["done"] / max(states["planned"], 1)
    print(
        f"{made.study.name}: {states['done']:,} of {states['planned']:,} samples done ({share:.1f} %), "
        f"{states['failed']:,} failed, {states['missing']:,} missing; {states['units_stored']:,} of "
        f"{states['units']:,} work units stored"
    )
    print(f"snapshot: {snapshot or 'none yet; publish makes one'}")
    return 0


def _verify(options: argparse.Namespace) -> int:
    from pipeline.shards import Results
    from pipeline.verify import elsewhere, mark_damaged, verify

    problems = verify(options.folder)
    for difference in elsewhere(options.folder):
        print(f"made elsewhere: {difference}")
    if not problems:
        print(f"{options.folder}: every shard and the snapshot are as they were written")
        return 0
    for problem in problems:
        print(problem, file=sys.stderr)
    with Results(options.folder).locked():
        count = mark_damaged(options.folder)
    if count:
        advice = "running the study again makes them anew"
        print(f"{count} damaged units are marked; {advice}.", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
