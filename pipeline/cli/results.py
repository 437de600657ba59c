"""The commands that look after results: status, verify, diff, merge, gc."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from pipeline.cli.places import add_shards
from pipeline.cli.terminal import complain, say
from pipeline.results.folder import Results
from pipeline.results.lock import describe_owner, owner_of
from pipeline.results.split import Part, part_of_file
from pipeline.study.plan import Plan
from pipeline.study.settings import show

MOST_PARTS = 20  # that `status` lists


def add_arguments(commands: argparse._SubParsersAction) -> None:
    """Adds the commands; each sets `handler`, a function of the parsed arguments."""
    _add_status(commands)
    _add_verify(commands)
    _add_diff(commands)
    _add_merge(commands)
    _add_gc(commands)


def _add_status(commands: argparse._SubParsersAction) -> None:
    status = commands.add_parser("status", help="count samples by state")
    status.add_argument("folder", type=Path, metavar="DIR")
    status.add_argument("--json", action="store_true", help="for scripts")
    add_shards(status)
    status.set_defaults(handler=_status)


def _status(options: argparse.Namespace) -> int:
    from pipeline.database.snapshots import read_pointer
    from pipeline.engine.progress import count_states
    from pipeline.results.record import load_plan

    results = Results(options.folder)
    plan = load_plan(results)
    states = count_states(results, plan, results.read_ledger())
    snapshot = None
    if results.current.is_file():
        snapshot = str(read_pointer(results)[0])
    if options.json:
        say(json.dumps({"study": plan.study.name, **states, "snapshot": snapshot}))
        return 0
    share = 100 * states["done"] / max(states["planned"], 1)
    say(
        f"{plan.study.name}: {states['done']:,} of {states['planned']:,} samples done ({share:.1f} %), "
        f"{states['failed']:,} failed, {states['missing']:,} missing; {states['units_stored']:,} of "
        f"{states['units']:,} work units stored"
    )
    say(f"snapshot: {snapshot or 'none yet; publish makes one'}")
    say_images(results)
    say_parts(results, plan)
    return 0


def say_images(results: Results) -> None:
    """A line for each model whose images exist, with those that match no prompt and seed."""
    from pipeline.results.record import load_workers

    for name, worker in load_workers(results)["models"].items():
        names = worker.get("unmatched_names")
        if isinstance(names, list) and isinstance(worker.get("unmatched"), int):
            some = ", ".join(show(each) for each in names[:5])
            line = f"model {show(name)}: {show(worker.get('images'))} images, {worker['unmatched']:,} match no prompt and seed"
            say(f"{line}: {some}" if some else line)


def say_parts(results: Results, plan: Plan) -> None:
    """Prints what is left of each part, who runs it, and what the queue says, where the folder is run in parts."""
    from pipeline.engine import slurm

    record = slurm.submitted(results)
    tasks = None if record is None else slurm.queue(record)
    running = {part: path for path in results.running_parts() if (part := part_of_file(path.name))}
    of = int(record["parts"]) if record else max((part.of for part in running), default=0)
    if not of:
        return
    left = slurm.left_of_parts(results, plan, of)
    say(f"parts: {sum(not todo for todo, _ in left.values())} of {of} done")
    queued = {task.part: f"; {task.state} ({task.reason}, {task.time})" for task in tasks or ()}
    unfinished = [number for number, (todo, _) in left.items() if todo]
    for number in unfinished[:MOST_PARTS]:
        path = running.get(Part(of, number))
        who = f"; running: {describe_owner(owner_of(path))}" if path else ""
        todo, size = left[number]
        say(f"  part {number}/{of}: {todo} of {size} work units left{who}{queued.get(number, '')}")
    if len(unfinished) > MOST_PARTS:
        say(f"  ... and {len(unfinished) - MOST_PARTS} more parts")
    if record is not None and tasks is None:
        say("queue: unknown, no squeue answers here")
    elif record is not None:
        say(f"queue: {len(tasks or ())} jobs of {record['job']} and {record['publish']}")


def _add_verify(commands: argparse._SubParsersAction) -> None:
    verify = commands.add_parser("verify", help="compute every hash of a results folder again")
    verify.add_argument("folder", type=Path, metavar="DIR")
    add_shards(verify)
    verify.set_defaults(handler=_verify)


def _verify(options: argparse.Namespace) -> int:
    from pipeline.results.verify import elsewhere, mark_damaged, verify

    problems = verify(options.folder)
    for difference in elsewhere(options.folder):
        say(f"made elsewhere: {difference}")
    if not problems:
        say(f"{options.folder}: every shard and the snapshot are as they were written")
        return 0
    for problem in problems:
        complain(problem)
    with Results(options.folder).locked():
        count = mark_damaged(options.folder)
    if count:
        advice = "running the study again makes them anew"
        complain(f"{count} damaged work units are marked; {advice}.")
    return 1


def _add_diff(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "diff",
        help="say which samples of two folders differ, and by how much",
        description="Compares two results folders sample by sample (model, prompt, seed), whatever their batch sizes, "
        "engines and machines. Exits 0 when nothing differs beyond the tolerance, else 1.",
    )
    parser.add_argument("first", type=Path, metavar="DIR_A")
    parser.add_argument("second", type=Path, metavar="DIR_B")
    parser.add_argument(
        "--tolerance",
        type=_amount,
        default=0.0,
        metavar="X",
        help="numbers a, b count as equal up to X * max(1, |a|, |b|), pixels up to one level of 255 more; "
        "0 by default: equal to the bit. Another batch size moves float32 similarities by less than 1e-4",
    )
    parser.add_argument("--limit", type=int, default=20, metavar="N", help="samples listed; 20")
    parser.add_argument("--json", action="store_true", help="for scripts, every sample listed")
    add_shards(parser)
    parser.set_defaults(handler=_diff)


def _amount(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text}: give a number from 0")
    return value


def _diff(options: argparse.Namespace) -> int:
    from pipeline.results import diff

    comparison = diff.compare(options.first, options.second, options.tolerance)
    if options.json:
        say(json.dumps(diff.as_record(comparison, options.tolerance)))
    else:
        say(diff.show(comparison, options.tolerance, options.limit))
    return 0 if comparison.same else 1


def _add_merge(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "merge",
        help="put the shards of several folders into one",
        description="Merges results of different machines and times: the same study split by hand, other seeds, other "
        "models, a longer prompt list. What does not fit together is reported; exits 1 then.",
    )
    parser.add_argument("folders", type=Path, nargs="+", metavar="DIR")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the merged folder")
    parser.add_argument("--no-publish", action="store_true", help="only merge the shards")
    parser.add_argument("--json", action="store_true", help="for scripts")
    add_shards(parser)
    parser.set_defaults(handler=_merge)


def _merge(options: argparse.Namespace) -> int:
    from pipeline.results.merge import as_record, merge

    merged = merge(options.folders, options.out)
    if options.json:
        say(json.dumps(as_record(merged)))
    else:
        say(
            f"{merged.work_units:,} work units in {options.out}, {merged.copied:,} copied now, "
            f"{len(merged.conflicts):,} conflicts"
        )
        for conflict in merged.conflicts:
            complain(f"conflict: {conflict}")
    if merged.work_units and not options.no_publish:
        from pipeline.database.publish import publish

        path = publish(options.out).path
        if not options.json:
            say(f"published {path}")
    return 1 if merged.conflicts else 0


def _add_gc(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "gc",
        help="remove superseded shards and old snapshots; asks first",
        description="Lists shards that the plan of the last run does not hold, snapshots older than the current one and "
        "superseded ledger lines, asks, and removes them. A snapshot that a reader has open is left alone.",
    )
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--dry-run", action="store_true", help="only list what would go")
    add_shards(parser)
    parser.set_defaults(handler=_gc)


def _gc(options: argparse.Namespace) -> int:
    from pipeline.database import gc

    rubbish = gc.find_rubbish(options.folder)
    say(gc.show(options.folder, rubbish))
    if not rubbish or options.dry_run:
        return 0
    if not options.yes and not _agreed("Remove them? [y/N] "):
        say("nothing removed; answer y, or give --yes")
        return 1
    gc.remove(options.folder, rubbish)
    say("removed")
    return 0


def _agreed(question: str) -> bool:
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:  # no one to ask
        say()
        return False
