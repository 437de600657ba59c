"""The command line of the demo: python -m pipeline demo train | export | evaluate | sheet | ..."""

import argparse
import logging
from dataclasses import replace
from pathlib import Path

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


def _add_train(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser("train", help="train the demo models; resumes where it stopped")
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoints")
    parser.add_argument(
        "--stage", action="append", choices=_STAGES, help="only this stage; may be repeated"
    )
    parser.add_argument(
        "--minutes", type=float, default=float("inf"), help="at most this long for each stage"
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
    parser.add_argument(
        "--out", type=Path, default=ROOT / "data" / "results" / "demo", help="results folder"
    )
    parser.add_argument("--scenes", type=int, help="scenes to explain (16; 6 with --quick)")
    parser.add_argument("--masks", type=int, help="masks and perturbations for a map (200; 64)")
    parser.add_argument(
        "--quick", action="store_true", help="few scenes, steps and masks: a minute"
    )
    parser.set_defaults(handler=run_trust)


def run_train(arguments: argparse.Namespace) -> int:
    """Trains; Ctrl-C keeps what was done and returns 130."""
    import torch

    from pipeline.demo.train import train

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    stages = tuple(name for name in _STAGES if name in (arguments.stage or _STAGES))
    try:
        finished = train(arguments.out, stages, minutes=arguments.minutes)
    except KeyboardInterrupt:
        print(f"Stopped. The same command goes on from the checkpoints in {arguments.out}.")
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
    from pipeline.demo.evaluate import evaluate, write_table

    logging.getLogger("diffusers").setLevel(logging.ERROR)
    table = evaluate(
        arguments.models,
        prompts=arguments.prompts,
        scenes=arguments.scenes,
        steps=arguments.steps,
    )
    print(table)
    write_table(arguments.models / "README.md", table)
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
    from pipeline.demo.prompts import write_concepts, write_prompts

    prompts, concepts = arguments.data / "prompts", arguments.data / "concepts"
    for folder in (prompts, concepts):
        folder.mkdir(parents=True, exist_ok=True)
    write_prompts(prompts / "scenes.csv", 64)
    write_prompts(prompts / "scenes-large.csv", 2000)
    write_concepts(concepts / "scenes.toml")
    print(f"{prompts / 'scenes.csv'}, {prompts / 'scenes-large.csv'}, {concepts / 'scenes.toml'}")
    return 0


def run_trust(arguments: argparse.Namespace) -> int:
    """Explains real scenes, writes DIR/extra/*.parquet for `publish`, and prints two tables."""
    from pipeline.demo import trust

    names = tuple(arguments.model or trust.NAMES)
    options = trust.QUICK if arguments.quick else trust.TrustOptions()
    given = {"scenes": arguments.scenes, "masks": arguments.masks}
    options = replace(options, **{k: v for k, v in given.items() if v is not None})
    localisation, randomisation = trust.run_trust(arguments.models, names, options)
    trust.write_trust(arguments.out, localisation, randomisation)
    print(trust.localisation_table(localisation))
    print()
    print(trust.randomisation_table(randomisation))
    print(
        f"\nWritten to {arguments.out / 'extra'}: `python -m pipeline publish {arguments.out}` shows them."
    )
    return 0
