"""The paper's studies on a tiny Stable Diffusion: made prompt files, fewer prompts, masks and explained steps."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

from tests.support.tiny import tiny_scorer
from tests.support.tiny_pipelines import folder_of

STUDIES = sorted(path.stem for path in Path("data/studies").glob("park2024-*.toml"))
NOUNS = ("dog", "cat", "rocket")


def triples(images: int = 60, each: int = 3) -> list[dict[str, Any]]:
    """A file like Visual Genome's relationships.json; every triple is another."""
    return [
        {
            "image_id": image,
            "relationships": [
                {"predicate": "ON", "subject": {"name": f"{NOUNS[n % 3]} {image}"}, "object": {"names": [f"shelf {n}"]}}
                for n in range(each)
            ],
        }
        for image in range(images)
    ]  # fmt: skip


def captions(images: int = 30) -> dict[str, Any]:
    """A file like the Karpathy splits of COCO."""
    splits = ("train", "test", "val")
    return {
        "images": [
            {"split": splits[i % 3], "sentences": [{"raw": f"a dog left of a cat {i}"}, {"raw": f"a red rocket {i}"}]}
            for i in range(images)
        ]
    }  # fmt: skip


def ground(folder: Path) -> Path:
    """A folder with what the paper's studies need: prompt files, a tiny Stable Diffusion and a tiny scorer."""
    (folder / "relationships.json").write_text(json.dumps(triples()))
    (folder / "dataset_coco.json").write_text(json.dumps(captions()))
    tiny_scorer(folder / "scorer")
    folder_of("sd-epsilon", folder)
    return folder


def at_hand(name: str, folder: Path) -> dict[str, Any]:
    """A study of the paper with prompts, model and scorer of `ground`; nothing else differs."""
    values = tomllib.loads(Path(f"data/studies/{name}.toml").read_text())
    values["prompts"]["path"] = str(folder / Path(values["prompts"]["path"]).name)
    values["scorer"] = {"source": str(folder / "scorer")}
    for model in values["model"]:
        model |= {"source": str(folder_of("sd-epsilon", folder)), "height": 32, "width": 32}
    return values


def smaller(values: dict[str, Any], prompts: int = 2) -> dict[str, Any]:
    """A study that runs in seconds: fewer prompts, masks, perturbations, concepts, and explained steps of relevance."""
    values["prompts"]["limit"] = prompts
    values["concepts"]["families"] = ["colour"]
    measures = values["measures"]
    if "frames" in measures:
        measures["frames"]["size"] = 32
    for tool, key in (("df-rise", "masks"), ("lime", "perturbations")):
        if tool in measures:
            measures[tool][key] = 6
    if not measures.keys() & {"df-rise", "df-cam", "relevance"}:  # images alone
        for model in values["model"]:
            model["steps"] = 10
    if "relevance" in measures:
        measures["relevance"] |= {"steps": {"stride": 10}, "map_steps": {"stride": 10}}
        measures["attention"]["steps"] = {"stride": 10}
    return values


def as_toml(values: dict[str, Any]) -> str:
    """Plain tables of a study as TOML."""
    lines = [f"{key} = {_value(v)}" for key, v in values.items() if key != "model" and not isinstance(v, dict)]  # fmt: skip
    for key, table in values.items():
        if isinstance(table, dict):
            lines += [f"[{key}]", *(f"{k} = {_value(v)}" for k, v in table.items())]
    for model in values["model"]:
        lines += ["[[model]]", *(f"{k} = {_value(v)}" for k, v in model.items())]
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{k} = {_value(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(value)
