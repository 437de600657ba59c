"""The commands that run a study, and those that try a model: run, schedulers, check."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.cli.database import RESULTS, publish_and_show
from pipeline.cli.terminal import complain, say

if TYPE_CHECKING:
    from pipeline.engine.run import Outcome
    from pipeline.engine.watchdog import Limits
    from pipeline.study.plan import Plan


def add_arguments(commands: argparse._SubParsersAction) -> None:
    """Adds the commands; each sets `handler`, a function of the parsed arguments."""
    _add_run(commands)
    _add_schedulers(commands)
    _add_check(commands)


def _add_run(commands: argparse._SubParsersAction) -> None:
    run = commands.add_parser("run", help="sample, observe and explain a study, then publish it")
    run.add_argument("study", type=Path, metavar="STUDY.toml")
    run.add_argument(
        "--out", type=Path, metavar="DIR", help="results folder; data/results/<study> by default"
    )
    run.add_argument("--limit", type=positive, metavar="N", help="only the first N prompts")
    run.add_argument(
        "--seeds", type=int, nargs="+", metavar="SEED", help="in place of the study's seeds"
    )
    run.add_argument(
        "--part",
        metavar="I/N",
        help="only part I of N of the work units, such as 3/16; other processes and machines may run the other parts into the "
        "same folder at the same time. Publish when all are done",
    )
    run.add_argument("--plan", action="store_true", help="only say what it would cost")
    run.add_argument(
        "--follow",
        action="store_true",
        help="keep looking for new checkpoints of the study's training runs, sample and publish them as they appear, until Ctrl-C",
    )
    run.add_argument("--no-publish", action="store_true", help="leave the snapshot as it is")
    _add_engine(run)
    _add_slurm(run)
    run.add_argument(
        "--retry", action="store_true", help="also work units set aside after three tries"
    )
    run.add_argument(
        "--unit-limit",
        type=_minutes,
        metavar="MINUTES",
        help="a worker that takes longer for a work unit is killed, and another gets it; by default 15 minutes and 20 "
        "times what the slowest work unit so far took; 0 = no limit",
    )
    run.add_argument("--price", type=float, metavar="X", help="of a worker's hour, for --plan")
    run.set_defaults(handler=_run)


def _add_engine(run: argparse.ArgumentParser) -> None:
    run.add_argument(
        "--device",
        type=device_name,
        default="auto",
        help="auto, cpu, cuda (every GPU), cuda:1, mps",
    )
    run.add_argument(
        "--engine",
        default="local",
        choices=("local", "ray", "slurm"),
        help="processes here, a Ray cluster, or jobs of a Slurm cluster, which are submitted and not waited for",
    )
    run.add_argument("--address", metavar="HOST:PORT", help="of the Ray cluster; 'auto' finds it")
    run.add_argument(
        "--workers", type=positive, metavar="N", help="by default one per GPU, or one on the CPU"
    )
    run.add_argument("--threads", type=positive, metavar="N", help="CPU threads of each worker")
    run.add_argument(
        "--shards", metavar="PLACE", help="a folder or s3://, gs://, abfs:// place for the shards"
    )


def _add_slurm(run: argparse.ArgumentParser) -> None:
    slurm = run.add_argument_group("Slurm", "in place of what the study's [slurm] table says")
    slurm.add_argument("--parts", type=positive, metavar="N", help="jobs, one GPU each; 16")
    for name, text in (
        (
            "time",
            "limit of a part, such as 4:00:00; it ends itself 2 minutes before and is put back into the queue",
        ),
        ("partition", "of all jobs"),
        ("account", "of all jobs"),
    ):
        slurm.add_argument(f"--{name}", metavar=name.upper(), help=text)
    slurm.add_argument(
        "--sbatch", action="append", default=[], metavar="OPTION", help="further option of sbatch for the parts, as --sbatch=--nice=10"
    )  # fmt: skip
    slurm.add_argument(
        "--requeue", action="store_true", help="with --part in a job of your own: when SIGTERM stops the part, put the job back into the queue"
    )  # fmt: skip


def _minutes(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text}: give a number of minutes from 0")
    return value


def _limits(options: argparse.Namespace) -> Limits:
    from pipeline.engine.watchdog import Limits

    minutes = options.unit_limit
    return Limits() if minutes is None else Limits(60 * minutes or float("inf"))


def positive(text: str) -> int:
    """A whole number from 1, for argparse."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text}: give a whole number from 1")
    return value


def device_name(text: str) -> str:
    """A device, for argparse."""
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d{1,3})?", text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no device: give auto, cpu, cuda (every GPU), cuda:1 (that one) or mps"
        )
    return text


def _run(options: argparse.Namespace) -> int:
    if not options.follow:
        return _run_once(options)
    from pipeline.cli.follow import follow
    from pipeline.errors import StudyError

    for name in ("plan", "part", "no_publish"):
        if getattr(options, name):
            raise StudyError(
                f"--follow and --{name.replace('_', '-')} exclude each other. Leave one out."
            )
    if options.engine == "slurm":
        raise StudyError("--follow cannot submit to Slurm. Use --engine local or ray.")
    return follow(options.study, lambda: _run_once(options))


def _run_once(options: argparse.Namespace) -> int:
    from pipeline.engine import run as engine
    from pipeline.preflight.deleted import with_deleted
    from pipeline.preflight.prepare import prepare
    from pipeline.results.folder import Results
    from pipeline.results.record import redefined, with_clip_score_of
    from pipeline.results.split import parse_part

    part = parse_part(options.part) if options.part else None
    plan = prepare(options.study, options.seeds, options.limit, hub=not options.plan)
    if options.plan:
        return _show_cost(plan, options)
    folder = options.out or RESULTS / plan.study.name
    plan = with_clip_score_of(Results(folder), with_deleted(plan, Results(folder)))
    if options.engine == "slurm":
        return _submit(plan, folder, options)
    for line in redefined(Results(folder), plan):
        print(line)
    outcome = engine.run(
        plan,
        folder,
        options.device,
        engine=engine.Engine(
            options.engine, options.workers, options.threads, options.address, _limits(options)
        ),
        shards=options.shards,
        retry=options.retry,
        part=part,
    )
    _report(outcome, folder)
    if outcome.interrupted:
        return _stopped(outcome, folder, requeued=options.requeue)
    if part is not None:
        last = (
            f"scores distance {folder} --publish" if plan.study.distances else f"publish {folder}"
        )
        say(f"Part {part} is done. When all parts are: `python -m pipeline {last}`")
        return 1 if outcome.errors or outcome.failed else 0
    damaged = not options.no_publish and publish_and_show(folder)
    return 1 if outcome.errors or outcome.failed or outcome.problem or damaged else 0


def _stopped(outcome: Outcome, folder: Path, *, requeued: bool) -> int:
    """Says how to resume, or puts the job back into Slurm's queue."""
    say(f"Stopped. Finished work is kept in {folder}; the same command resumes from there.")
    if requeued:
        from pipeline.engine.slurm import requeue

        say(requeue(outcome.work_units))
    return 130


def _submit(plan: Plan, folder: Path, options: argparse.Namespace) -> int:
    """Submits the parts to Slurm."""
    from pipeline.engine import slurm

    say(
        slurm.submit(
            plan,
            folder,
            part_command(folder, options),
            {**plan.study.slurm, **_slurm_settings(options)},
            gpu=options.device not in ("cpu", "mps"),
            shards=options.shards,
            extra=options.sbatch,
        )
    )
    return 0


def _slurm_settings(options: argparse.Namespace) -> dict[str, str | int]:
    from pipeline.errors import StudyError
    from pipeline.study.reading import check_slurm

    def fail(key: str, problem: str) -> StudyError:
        return StudyError(f"--{key} {problem}")

    names = {key: getattr(options, key) for key in ("time", "partition", "account")}
    settings = {k: check_slurm(k, v, fail) for k, v in names.items() if v is not None}
    return {**settings, **({"parts": options.parts} if options.parts else {})}


def part_command(folder: Path, options: argparse.Namespace) -> list[str]:
    """The command that runs a part of this run, as a list of arguments; `--part` is added to it."""
    paths = [str(options.study.resolve()), "--out", str(folder.resolve())]
    numbers = {"--limit": options.limit, "--workers": options.workers, "--threads": options.threads,
               "--unit-limit": options.unit_limit, "--shards": options.shards}  # fmt: skip
    chosen = [text for k, v in numbers.items() if v is not None for text in (k, str(v))]
    seeds = ["--seeds", *map(str, options.seeds)] if options.seeds else []
    retry = ["--retry"] if options.retry else []
    return [sys.executable, "-m", "pipeline", "run", *paths, "--device", options.device, *chosen, *seeds, *retry, "--requeue"]  # fmt: skip


def _show_cost(plan: Plan, options: argparse.Namespace) -> int:
    from pipeline.preflight import estimate
    from pipeline.preflight.distances import distance_costs

    costs = estimate.estimate(plan, options.device)
    say(estimate.show(costs))
    for line in distance_costs(plan, options.device):
        say(line)
    say(estimate.show_workers(costs, options.workers or 1, options.price))
    return 0


def _report(outcome: Outcome, folder: Path) -> None:
    say(
        f"{outcome.work_units} work units run in {outcome.seconds:.0f} s, {outcome.stored_before} were there already"
    )
    if outcome.failed:
        say(
            f"{outcome.failed} samples failed: `python -m pipeline status {folder}`; running again retries them"
        )
    for error in outcome.errors:
        complain(f"failed work unit: {error}")
    for line in outcome.distances:
        say(line)
    if outcome.problem:
        complain(f"no distances: {outcome.problem}")


def _add_schedulers(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("schedulers", help="which schedulers a model can be sampled with")
    parser.add_argument("model", metavar="MODEL", help="a pipeline's folder, or a Hub id")
    parser.add_argument("--revision", metavar="REV", help="of a Hub id")
    parser.set_defaults(handler=_schedulers)


def _schedulers(options: argparse.Namespace) -> None:
    from pipeline.preflight.schedulers import show

    say(show(options.model, options.revision))


def _add_check(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "check", help="try a model in two steps: what a study can ask of it, time and memory"
    )
    parser.add_argument("model", metavar="MODEL", help="a pipeline's folder, or a Hub id")
    parser.add_argument("--revision", metavar="REV", help="of a Hub id")
    parser.add_argument("--scheduler", metavar="CLASS", help="in place of the model's own")
    parser.add_argument("--guidance", type=float, default=4.0, metavar="X", help="scale; 4")
    parser.add_argument("--size", type=positive, metavar="PX", help="height and width of the image")
    parser.add_argument(
        "--dtype", default="auto", choices=("auto", "float32", "float16", "bfloat16")
    )
    parser.add_argument(
        "--device", type=device_name, default="auto", help="auto, cpu, cuda, cuda:1, mps"
    )
    parser.set_defaults(handler=_check)


def _check(options: argparse.Namespace) -> int:
    from pipeline.preflight.check import check, show
    from pipeline.study.spec import ModelSpec

    checked = check(
        ModelSpec(
            options.model,
            options.model,
            options.model,
            revision=options.revision,
            dtype=options.dtype,
            scheduler=options.scheduler,
            guidance=options.guidance,
            height=options.size,
            width=options.size,
        ),
        options.device,
    )
    say(show(checked))
    return 1 if checked.problems else 0
