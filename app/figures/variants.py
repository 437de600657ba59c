"""Figure of what each entry of a study costs: seconds, memory and quality, with the Pareto front."""

from __future__ import annotations

from typing import Any

import pandas as pd

from app.analysis import parting, uncertainty, variants
from app.charts import paper
from app.charts import variants as variant_charts
from app.figures.parts import SEEDS_FIRST, keyed, sizes, without_legends
from app.figures.source import Figure, FigureError, FigureStudy, NotMeasured

SIZES = (8, 80)  # points² of an entry without memory and of that with the most
AXES = {"log_snr": "log-SNR", "step": "step", "progress": "share of the steps"}


def variant_costs(study: FigureStudy) -> Figure:
    """Seconds per image against the chosen score, with peak memory, distance to the reference entry and where they part."""
    chosen, axis = _distance(study), study.basis()[1]
    table = costs(study)
    drawn = variants.judged(table)
    if len(drawn) < 2:
        raise NotMeasured(
            "A trade-off needs two sampled entries with the score; this choice has fewer.",
            "Leave --models out, choose another --metric, or add another [[model]] to the study file and run it again.",
        )
    models = study.of(*drawn["model_id"])
    memory = variants.compares_memory(table)

    def part(width: float) -> Any:
        title = f"{study.score.title}, {study.score.better} is better"
        chart = variant_charts.trade_off(drawn, models, title, memory=memory, sizes=SIZES)
        return without_legends(paper.still(chart)).properties(width=width, height=min(width * 0.6, 170))  # fmt: skip

    caption = (
        f"Seconds per image and {study.score.title} of each entry: mean with 95 % t interval, of seconds over batches, with all that the "
        f"study records, of the score over prompts. {_marks(drawn, memory)}{variants.front_text(table)} "
        f"{_distance_text(study, table, chosen, axis)}{study.score.credit if study.score.metric else ''}{SEEDS_FIRST} "
        f"{sizes(study, drawn['prompts'])} {study.source_line()}"
    )
    data = table.drop(columns="model_id")
    return Figure(keyed(models, [part], 1, mark="point"), data, caption, 1, _printed(table, study))


def costs(study: FigureStudy) -> pd.DataFrame:
    """The rows of `variants.costs` by the author's choice. Raises FigureError where it names no distance of the study."""
    chosen = _distance(study)
    name = chosen.measure.metric if chosen else ""
    return variants.costs(study, name, study.choice.threshold, study.basis()[1])


def _distance(study: FigureStudy) -> parting.Distance | None:
    """The distance that the author named, or the first. Raises FigureError where there is none of that name."""
    name = study.choice.distance
    chosen = parting.by_name(study, name)
    if name and (chosen is None or chosen.measure.metric != name):
        known = ", ".join(each.measure.metric for each in parting.distances(study)) or "none"
        raise FigureError(f"--distance: {name!r} is not in this study. Allowed: {known}.")
    return chosen


def _marks(drawn: pd.DataFrame, memory: bool) -> str:
    """What fill and size of a point say, of the verdicts that are drawn."""
    fills = {variants.FRONT: "filled: on the front", variants.UNDECIDED: "pale: undecided", variants.DOMINATED: "hollow: dominated"}  # fmt: skip
    shown = [text for verdict, text in fills.items() if (drawn["verdict"] == verdict).any()]
    area = f"; area: peak memory ({variants.memory_text(drawn)})" if memory else ""
    return f"Points {', '.join(shown)}{area}. "


def _distance_text(
    study: FigureStudy, table: pd.DataFrame, chosen: parting.Distance | None, axis: str
) -> str:
    """What the table's columns about the reference entry are; '' where there are none."""
    if chosen is None or table["distance"].isna().all():
        return ""
    measure, to = chosen.measure, study.label(chosen.reference)
    text = f"Table: distance to {to} ({measure.source}; {measure.better} is closer). "
    if table["parts"].notna().any():
        threshold = uncertainty.significant(study.choice.threshold or chosen.threshold, 4)
        text += (
            f"Parts: restricted mean of the {AXES[axis]} from which it stays {chosen.beyond} {threshold}; "
            "from the start counts at the first step, never at the last. "
        )
    return text


def _printed(table: pd.DataFrame, study: FigureStudy) -> pd.DataFrame:
    """The rows as they are printed; columns without a number are left out."""
    columns = {
        "Entry": table["model"].tolist(),
        "Front": table["verdict"].tolist(),
        "s per image": variants.interval_texts(table, "seconds"),
        "Memory, GB": [f"{gb:.2f}" if pd.notna(gb) else None for gb in table["memory_gb"]],
        study.score.title: variants.interval_texts(table, "score"),
        "Distance": variants.interval_texts(table, "distance"),
        "Parts at": variants.parts_texts(table),
        "n": [f"{n:.0f}" if pd.notna(n) else None for n in table["prompts"]],
    }
    return pd.DataFrame(
        {
            name: [text or "–" for text in texts]
            for name, texts in columns.items()
            if set(texts) - {None, "reference"}
        }
    )
