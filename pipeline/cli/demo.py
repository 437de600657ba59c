"""The command line of the demo: python -m pipeline demo train | export | evaluate | sheet | ..."""

import argparse
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.cli.database import RESULTS
from pipeline.cli.study import positive
from pipeline.study.spec import BASELINES

ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT / "data" / "models"
_STAGES = ("autoencoder", "clip", "judge", "text", "unet", "relations", "dit")


def add_arguments(subparsers: argparse._SubParsersAction) -> None:
    """Adds the demo's subcommands; each sets `handler`, a function of the parsed arguments."""
    _add_train(subparsers)
    _add_export(subparsers)
    _add_evaluate(subparsers)
    _add_sheet(subparsers)
    _add_sprites(subparsers)
    _add_prompts(subparsers)
    _add_trust(subparsers)
    _add_games(subparsers)
    _add_checkpoints(subparsers)
    _add_bring(subparsers)


def _add_train(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser("train", help="train the demo models; resumes where it stopped")
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoints")
    parser.add_argument(
        "--stage", action="append", choices=_STAGES, help="only this stage; may be repeated"
    )
    parser.add_argument(
        "--minutes", type=float, default=float("inf"), help="at most this long for each stage"
    )
    parser.add_argument(
        "--further",
        type=Path,
        metavar="MODELS",
        help="train scenes-clip of this folder of models some more, on all pairs",
    )
    parser.add_argument("--threads", type=int, help="CPU threads; by default torch decides")
    parser.set_defaults(handler=run_train)


def _add_export(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser("export", help="write model folders from checkpoints")
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoints")
    parser.add_argument("--models", type=Path, default=MODELS, help="where the folders go")
    parser.set_defaults(handler=run_export)


def _add_evaluate(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser("evaluate", help="measure the models, write the README's table")
    parser.add_argument("--models", type=Path, default=MODELS, help="folder of the models")
    parser.add_argument(
        "--prompts", type=int, default=200, help="prompts for each category and model"
    )
    parser.add_argument("--scenes", type=int, default=1000, help="real scenes to read")
    parser.add_argument("--steps", type=int, default=30, help="sampling steps")
    parser.add_argument(
        "--readers",
        action="store_true",
        help="only what reads pictures; the text-to-image models' rows of the table stay",
    )
    parser.set_defaults(handler=run_evaluate)


def _add_sheet(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser("sheet", help="draw a contact sheet of all models")
    parser.add_argument("--models", type=Path, default=MODELS, help="folder of the models")
    parser.add_argument("--to", type=Path, default=MODELS / "contact-sheet.png", help="PNG file")
    parser.add_argument("--steps", type=int, default=30, help="sampling steps")
    parser.set_defaults(handler=run_sheet)


def _add_sprites(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser("sprites", help="render the sprites from the emoji package")
    parser.add_argument("icons", type=Path, help="icons.json of @iconify-json/fluent-emoji-flat")
    parser.add_argument(
        "--to", type=Path, default=ROOT / "data" / "sprites", help="folder of the sprites"
    )
    parser.set_defaults(handler=run_sprites)


def _add_prompts(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser("prompts", help="write the prompt sets and the concept bank")
    parser.add_argument("--data", type=Path, default=ROOT / "data", help="the data folder")
    parser.set_defaults(handler=run_prompts)


def _add_trust(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "trust", help="how far each explanation can be trusted, on scenes with known masks"
    )
    parser.add_argument("--models", type=Path, default=MODELS, help="folder of the models")
    parser.add_argument("--model", action="append", help="only this one; may be repeated")
    parser.add_argument("--out", type=Path, default=RESULTS / "demo", help="results folder")
    parser.add_argument("--scenes", type=int, help="scenes to explain (20; 8 with --quick)")
    parser.add_argument("--masks", type=int, help="masks and perturbations for a map (64; 32)")
    parser.add_argument(
        "--quick", action="store_true", help="few scenes, steps and masks: a minute"
    )
    parser.add_argument(
        "--workers",
        type=positive,
        metavar="N",
        default=os.cpu_count() or 1,
        help="processes, each with one thread",
    )
    parser.add_argument(
        "--words", action="store_true", help="only what has a map of each word, and print it alone"
    )
    parser.set_defaults(handler=run_trust)


def _add_games(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "games", help="whether tools that win at insertion also find the objects of known scenes"
    )
    parser.add_argument("--models", type=Path, default=MODELS, help="folder of the models")
    parser.add_argument("--model", action="append", help="only this one; may be repeated")
    parser.add_argument("--scenes", type=int, default=8, help="scenes to explain (8)")
    parser.add_argument("--masks", type=int, default=64, help="masks and perturbations for a map")
    parser.add_argument(
        "--baseline",
        action="append",
        choices=BASELINES,
        help="of removed regions; may be repeated; all by default",
    )
    parser.set_defaults(handler=run_games)


def _add_checkpoints(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "checkpoints",
        help="train the UNet from nothing for some minutes and keep eight checkpoints; resumes",
    )
    parser.add_argument("--models", type=Path, default=MODELS, help="folder of the models")
    parser.add_argument(
        "--out",
        type=Path,
        default=RESULTS / "training-checkpoints",
        help="where the folders checkpoint-STEP go",
    )
    parser.add_argument("--threads", type=int, help="CPU threads; by default torch decides")
    parser.set_defaults(handler=run_checkpoints)


def run_checkpoints(arguments: argparse.Namespace) -> int:
    """Trains; Ctrl-C keeps what was done and returns 130."""
    from pipeline.demo.short_run import train_checkpoints

    return _written(arguments, train_checkpoints)


def _written(arguments: argparse.Namespace, write: Callable[[Path, Path], Sequence[Path]]) -> int:
    """Prints what `write` makes of the models in --out, or how to resume it after Ctrl-C."""
    import torch

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    try:
        paths = write(arguments.out, arguments.models)
    except KeyboardInterrupt:
        print(f"Stopped. The same command resumes from {arguments.out}.")
        return 130
    print("\n".join(map(str, paths)))
    return 0


def _add_bring(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "bring-your-own",
        help="write the prompts, images and training run of data/studies/bring-your-own.toml; resumes",
    )
    parser.add_argument("--models", type=Path, default=MODELS, help="folder of the models")
    parser.add_argument(
        "--out",
        type=Path,
        default=RESULTS / "bring-your-own-files",
        help="where they go",
    )
    parser.add_argument("--threads", type=int, help="CPU threads; by default torch decides")
    parser.set_defaults(handler=run_bring)


def run_bring(arguments: argparse.Namespace) -> int:
    """Writes the files; Ctrl-C keeps what was done and returns 130."""
    from pipeline.demo.bring import write_files

    return _written(arguments, write_files)


def run_train(arguments: argparse.Namespace) -> int:
    """Trains; Ctrl-C keeps what was done and returns 130."""
    import torch

    from pipeline.demo.train import train, train_further

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    stages = tuple(name for name in _STAGES if name in (arguments.stage or _STAGES))
    try:
        if arguments.further:
            finished = train_further(arguments.out, arguments.further)
        else:
            finished = train(arguments.out, stages, minutes=arguments.minutes)
    except KeyboardInterrupt:
        print(f"Stopped. The same command resumes from the checkpoints in {arguments.out}.")
        return 130
    for name, progress in finished.items():
        print(f"{name}: {progress.step} steps, {progress.minutes:.1f} min, {progress.loss:.4f}")
    return 0


def run_export(arguments: argparse.Namespace) -> int:
    """Writes the folders of the models whose checkpoints exist."""
    from pipeline.demo.export import export_models

    for folder in export_models(arguments.out, arguments.models):
        print(folder)
    return 0


def run_evaluate(arguments: argparse.Namespace) -> int:
    """Measures the models, prints the table and writes it into the README."""
    from pipeline.demo.evaluate import GUIDANCE, evaluate, rows_of_generators, write_table

    logging.getLogger("diffusers").setLevel(logging.ERROR)
    readme = arguments.models / "README.md"
    table = evaluate(
        arguments.models,
        prompts=arguments.prompts,
        scenes=arguments.scenes,
        steps=arguments.steps,
        generators=() if arguments.readers else tuple(GUIDANCE),
    )
    if arguments.readers:
        table = "\n".join([table, *rows_of_generators(readme)])
    print(table)
    write_table(readme, table)
    return 0


def run_sheet(arguments: argparse.Namespace) -> int:
    """Draws the contact sheet."""
    from pipeline.demo.sheet import write_sheet

    write_sheet(arguments.models, arguments.to, steps=arguments.steps)
    print(arguments.to)
    return 0


def run_sprites(arguments: argparse.Namespace) -> int:
    """Renders the sprites."""
    from pipeline.demo.sprites import write_sprites

    print(f"{len(write_sprites(arguments.icons, arguments.to))} sprites in {arguments.to}")
    return 0


def run_prompts(arguments: argparse.Namespace) -> int:
    """Writes the prompt sets and the concept bank."""
    from pipeline.demo.pairs import write_pairs
    from pipeline.demo.prompts import write_concepts, write_prompts

    prompts, concepts = arguments.data / "prompts", arguments.data / "concepts"
    for folder in (prompts, concepts):
        folder.mkdir(parents=True, exist_ok=True)
    write_prompts(prompts / "scenes.csv", 64)
    write_prompts(prompts / "scenes-large.csv", 2000)
    write_prompts(prompts / "scenes-mixed.csv", 1000, mixed=True)
    write_pairs(prompts / "scenes-pairs.csv")
    write_concepts(concepts / "scenes.toml")
    names = ("scenes.csv", "scenes-large.csv", "scenes-mixed.csv", "scenes-pairs.csv")
    print(
        ", ".join(str(path) for path in (*(prompts / n for n in names), concepts / "scenes.toml"))
    )
    return 0


def run_trust(arguments: argparse.Namespace) -> int:
    """Explains real scenes, writes DIR/extra/*.parquet for `publish`, and prints the tables."""
    from pipeline.demo import trust, trust_tables
    from pipeline.demo.known import NAMES
    from pipeline.demo.trust_parts import run_parts

    names = tuple(arguments.model or NAMES)
    options = trust.QUICK if arguments.quick else trust.TrustOptions()
    options = trust.WORDS if arguments.words else options
    counts = {"scenes": arguments.scenes, "masks": arguments.masks}
    if arguments.scenes is not None:
        counts["random_scenes"] = min(arguments.scenes, options.random_scenes)
    options = replace(options, **{k: v for k, v in counts.items() if v is not None})
    finished = arguments.out / "trust"
    results = run_parts(arguments.models, names, options, finished, arguments.workers)
    tables: tuple[str, ...] = (
        trust_tables.localisation_table(results.localisation),
        trust_tables.paired_table(results.localisation, "concept-attention", "attention"),
    )
    if arguments.words:
        print("\n\n".join(tables))
        return 0
    trust.write_trust(arguments.out, results)
    tables += (
        trust_tables.layer_table(results.localisation),
        trust_tables.randomisation_table(results.randomisation),
        trust_tables.area_table(results.area),
    )
    print("\n\n".join(tables))
    print(
        f"\nWritten to {arguments.out / 'extra'}: `python -m pipeline publish {arguments.out}` shows them."
    )
    return 0


def run_games(arguments: argparse.Namespace) -> int:
    """Plays insertion with every tool's map of real scenes and prints the tables."""
    from pipeline.demo import games
    from pipeline.demo.known import NAMES

    names = tuple(arguments.model or NAMES)
    baselines = tuple(arguments.baseline or BASELINES)
    options = games.GameOptions(arguments.scenes, masks=arguments.masks, baselines=baselines)
    rows = games.run_games(arguments.models, names, options)
    print(f"{games.tools_table(rows)}\n\n{games.agreement_table(rows)}")
    return 0
