"""Makes random samples of a results folder anew on this machine, and says how far they are from the stored ones.

Each is made in the batch in which it was made, with the tools left out: they change no image and no similarity.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from pipeline.engine.host import OpenWorker, local_worker
from pipeline.errors import StoreError
from pipeline.preflight.prepare import check_folders
from pipeline.results.folder import Results
from pipeline.results.origin import load_origins, origin, package_differences
from pipeline.results.record import differences, environment, load_plan, load_workers
from pipeline.results.shards import parse_shard
from pipeline.study.plan import Plan, WorkUnit, find_revisions
from pipeline.study.prompt_source import resolve
from pipeline.study.spec import Measures, Study
from pipeline.tables import terminal_table

LEVELS = 1.0  # of 255, by which a pixel may differ
SIMILARITY = 1e-4  # by which a similarity may: another batch size moves it by less
MOST_PACKAGES = 12  # that are named


@dataclass(frozen=True)
class Remade:
    """A sample beside the stored one.

    Attributes:
        largest: difference of a pixel's channel, in levels of 255; inf where the images have other sizes.
        mean: of these differences.
        similarity: largest difference of a similarity or score, over steps, concepts and scorers; inf where one is missing.
        equal: whether pixels and numbers are the same to the bit.
        error: why the sample could not be made; "" where it was.
    """

    model: str
    seed: int
    prompt: str
    largest: float
    mean: float
    similarity: float
    equal: bool
    error: str = ""

    def within(self, levels: float, similarity: float) -> bool:
        """Whether it is equal within tolerances."""
        return not self.error and self.largest <= levels and self.similarity <= similarity


@dataclass(frozen=True)
class Sample:
    """A stored sample: its work unit, its place there, and its row of the shard."""

    work_unit: WorkUnit
    index: int
    row: Mapping[str, Any]


def reproduce(
    folder: Path,
    count: int,
    seed: int = 0,
    device: str = "auto",
    open_worker: OpenWorker | None = None,
    say: Callable[[str], object] = print,
) -> list[Remade]:
    """Makes samples anew and compares them.

    Args:
        folder: a results folder.
        count: samples to make; all, where fewer are stored.
        seed: of the random choice.
        device: as for a run.
        open_worker: makes the worker of a model; None = the real one.
        say: is told what differs between then and now, and which samples were chosen.

    Raises:
        StoreError: the folder holds no study, or no finished sample.
        ModelError: a model, a scorer or the device is not here.
    """
    results = Results(folder)
    results.require_store()
    plan = load_plan(results)
    chosen = choose(results, plan, count, seed)
    study = here(plan.study, results)
    if open_worker is None:
        check_folders(study)
        for line in _other_files(plan, study):
            say(f"differs: {line}")
    say(f"{len(chosen)} samples, chosen at random with seed {seed}")
    remade, used = _make(chosen, plan, study, device, open_worker or local_worker)
    for line in differing(results, used):
        say(f"differs: {line}")
    return remade


def _make(
    chosen: Sequence[Sample], plan: Plan, study: Study, device: str, open_worker: OpenWorker
) -> tuple[list[Remade], str]:
    """The samples made again, model by model, and the device that was used."""
    remade: list[Remade] = []
    used = ""
    for model in study.models:
        samples = [sample for sample in chosen if sample.work_unit.model.name == model.name]
        if not samples:
            continue
        with open_worker(study, model, plan.bank, device) as worker:
            remade += [_remade(each, row) for each, row in _rows(worker, model, study, samples)]
            used = str(worker.description.get("device", ""))
    return remade, used


def choose(results: Results, plan: Plan, count: int, seed: int) -> list[Sample]:
    """Finished samples, chosen at random: the same ones for the same seed and folder.

    Raises:
        StoreError: no sample is finished, or a shard is damaged.
    """
    entries = results.read_ledger().entries
    stored = [u for u in plan if u.unit_id in entries and entries[u.unit_id].has_shard]
    numbered = [(each, index) for each in stored for index in range(len(each))]
    order = np.random.default_rng(seed).permutation(len(numbered))
    chosen: list[Sample] = []
    for work_unit, index in (numbered[position] for position in order):
        if len(chosen) == count:
            break
        table = parse_shard(results.store.read(work_unit.unit_id), work_unit.unit_id)
        row = table.slice(index, 1).to_pylist()[0]
        if row["status"] == "done":
            chosen.append(Sample(work_unit, index, row))
    if not chosen:
        raise StoreError(f"{results.folder}: no sample is finished. Run the study first.")
    return chosen


def here(study: Study, results: Results) -> Study:
    """The study without tools and distances, its folders looked for as a study file's are."""

    def found(source: str) -> str:
        path = resolve(source, results.study)
        return str(path) if path.exists() else source

    decoders = [m.steps_decoder and found(m.steps_decoder) for m in study.models]
    models = tuple(
        replace(
            model,
            source=found(model.source),
            config=model.config and found(model.config),
            steps_decoder=decoder,
        )
        for model, decoder in zip(study.models, decoders, strict=True)
    )
    first, *further = (replace(each, source=found(each.source)) for each in study.scorers)
    measures = Measures(protocol=study.measures.protocol)
    return replace(
        study, models=models, scorer=first, further_scorers=tuple(further), measures=measures, distances=()
    )  # fmt: skip


def _rows(
    worker: Any, model: Any, study: Study, samples: Sequence[Sample]
) -> Iterator[tuple[Sample, Mapping[str, Any]]]:
    """Each sample with its row made again; a batch that holds several is run once."""
    size, batches = study.run.batch_size or 1, {}
    for sample in samples:
        start = sample.index // size * size
        key = (sample.work_unit.unit_id, start)
        if key not in batches:
            prompts = sample.work_unit.prompts[start : start + size]
            batches[key] = worker.run(replace(sample.work_unit, model=model, prompts=prompts), None)
        yield sample, batches[key][sample.index - start]


def _remade(sample: Sample, row: Mapping[str, Any]) -> Remade:
    prompt = sample.work_unit.prompts[sample.index]
    facts = (sample.work_unit.model.name, sample.work_unit.seed, prompt.text)
    if row["status"] != "done":
        return Remade(*facts, np.inf, np.inf, np.inf, False, str(row["error"]))
    largest, mean = image_difference(sample.row["image"], row["image"])
    similarity = _largest(_numbers(sample.row), _numbers(row))
    return Remade(*facts, largest, mean, similarity, largest == 0 and similarity == 0)


def image_difference(a: bytes, b: bytes) -> tuple[float, float]:
    """Largest and mean difference of two images' channels, in levels of 255; inf for other sizes or damage."""
    try:
        first, second = _pixels(a), _pixels(b)
    except (OSError, ValueError, UnidentifiedImageError):
        return np.inf, np.inf
    if first.shape != second.shape:
        return np.inf, np.inf
    gaps = np.abs(first - second)
    return float(gaps.max()), float(gaps.mean())


def _pixels(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"), np.float64)


def _numbers(row: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Every score and similarity of a row, by what it is of."""
    numbers: dict[str, np.ndarray] = {}
    for number, scored in enumerate((row, *row["further_scorers"])):
        curves = {t["concept"]: t["similarity"] for t in scored["trajectories"]}
        curves |= {"": scored["prompt_similarity"], " score": [scored["clip_score"]]}
        for name, values in curves.items():
            numbers[f"{number} {name}"] = np.asarray(values, np.float32).astype(np.float64)
    return numbers


def _largest(a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray]) -> float:
    if a.keys() != b.keys() or any(a[name].shape != b[name].shape for name in a):
        return np.inf
    gaps = [float(np.abs(a[name] - b[name]).max(initial=0.0)) for name in a]
    return max((np.inf if np.isnan(gap) else gap for gap in gaps), default=0.0)


def _other_files(plan: Plan, study: Study) -> list[str]:
    """Models and scorers whose files are not those that the results were made with."""
    revisions = find_revisions(study)
    pairs = {f"model {name}": (plan.revisions.models[name], value) for name, value in revisions.models.items()}  # fmt: skip
    for spec, there, now in zip(study.scorers, plan.revisions.scorers, revisions.scorers, strict=True):  # fmt: skip
        pairs[f"scorer {spec.name or spec.source}"] = (there, now)
    return [f"{name}: files {a} there, {b} here" for name, (a, b) in pairs.items() if a != b]


def differing(results: Results, device: str) -> list[str]:
    """Versions and hardware that differ between the machines that made the results and this one, one line each."""
    now = environment(device)
    lines = [
        line
        for stored in load_workers(results)["environments"]
        for line in differences({k: v for k, v in stored.items() if k != "host"}, now)
    ]
    records, this = load_origins(results), origin()
    if not records:
        lines.append("installed packages: not recorded, an older version made this folder")
    packages = dict.fromkeys(line for each in records for line in package_differences(each, this))
    lines += list(packages)[:MOST_PACKAGES]
    if len(packages) > MOST_PACKAGES:
        lines.append(f"... and {len(packages) - MOST_PACKAGES} more packages")
    return list(dict.fromkeys(lines))


def show(remade: Sequence[Remade], levels: float, similarity: float) -> str:
    """The comparison as text: a row for each sample, and what it comes to."""
    rows = [
        (each.model, str(each.seed), each.prompt[:40], *_cells(each, levels, similarity))
        for each in remade
    ]
    head = ("model", "seed", "prompt", "largest", "mean", "similarity", "")
    good = sum(each.within(levels, similarity) for each in remade)
    return "\n".join(
        [
            terminal_table(head, rows),
            f"{sum(each.equal for each in remade)} of {len(remade)} samples are equal to the bit, {good} within {levels:g} levels of 255 "
            f"and {similarity:g} in similarity",
        ]
    )


def _cells(each: Remade, levels: float, similarity: float) -> tuple[str, str, str, str]:
    if each.error:
        return ("", "", "", f"failed: {each.error[:80]}")
    within = "within tolerance" if each.within(levels, similarity) else "DIFFERS"
    verdict = "equal to the bit" if each.equal else within
    return (f"{each.largest:g}", f"{each.mean:.3g}", f"{each.similarity:.3g}", verdict)
