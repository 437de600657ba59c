"""Words of the prompt: what each word and each role gets over the steps, and which words get most."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import pandas as pd

from app.analysis import chance

Ask = Callable[..., pd.DataFrame]
# In the order in which they are offered; the last one measured is shown where none is chosen.
SOURCES = ("attention", "relevance")
ROLES = ("subject", "relation", "object", "attribute", "other")
# Articles and prepositions, the first to be left out where there is no room.
SMALL = frozenset({"a", "an", "the", "of", "on", "in", "and", "with", "to", "at", "by"})


def sources(ask: Ask) -> pd.DataFrame:
    """The recorded sources of word values and their groups of layers, all layers together first."""
    return ask("word_sources")


def known_sources(recorded: Iterable[str]) -> list[str]:
    """The sources that were recorded, in the order in which they are offered."""
    present = set(recorded)
    return [name for name in SOURCES if name in present]


def default_source(recorded: Iterable[str]) -> str:
    """The source that is shown where none is chosen: relevance where it was measured, "" where none is known."""
    known = known_sources(recorded)
    return known[-1] if known else ""


def unknown_sources(recorded: Iterable[str]) -> str:
    """A sentence about word values none of whose sources this version knows; "" where it knows one, or there are none."""
    present = sorted(set(recorded))
    if not present or known_sources(present):
        return ""
    named = ", ".join(f"{name[:40]!r}" for name in present[:3])
    return f"The word values of this snapshot come from {named}, which this version does not know. It knows: {', '.join(SOURCES)}."


def value_column(source: str) -> str:
    """The column of `of_prompts` that is a word's value: scaled relevance, or the share of attention."""
    return "scaled" if source == "relevance" else "mass"


def of_prompts(ask: Ask, prompts: Sequence[int], source: str, group: str = "all") -> pd.DataFrame:
    """What each word of some prompts gets at each step, averaged over seeds.

    Args:
        ask: answers questions to the snapshot.
        prompts: prompt_id.
        source: attention or relevance.
        group: of layers.

    Returns:
        model_id, prompt_id, word_index, word (one that comes again is numbered: a (2)), role, step, seeds;
        mass (share of attention 0..1, or raw relevance), scaled (0..1 within a step), entropy (0..1), value
        (scaled, or mass where nothing is scaled).
    """
    rows = ask("prompt_words", prompts=list(prompts), source=source, layer_group=group)
    return rows.assign(word=numbered(rows), value=rows["scaled"].fillna(rows["mass"]))


def numbered(rows: pd.DataFrame) -> list[str]:
    """The words of each prompt in which one that comes again gets a number: a, a (2)."""
    keys = [key for key in ("prompt_id", "word_index") if key in rows]
    first = rows.drop_duplicates(keys).sort_values(keys)
    nth = first.groupby([*keys[:-1], "word"]).cumcount() + 1
    names = first["word"].where(nth == 1, first["word"] + " (" + nth.astype(str) + ")")
    table = dict(zip(first[keys].itertuples(index=False, name=None), names, strict=True))
    return [table[key] for key in rows[keys].itertuples(index=False, name=None)]


def telling(words: Iterable[str], most: int) -> list[str]:
    """At most so many of the words, without articles and prepositions where others are left."""
    order = list(words)
    kept = [word for word in order if base_of(word) not in SMALL]
    return (kept or order)[:most]


def base_of(word: str) -> str:
    """A word without the number that tells its second occurrence from its first."""
    return word.split(" (")[0].lower()


def in_prompt_order(text: str, words: Iterable[str]) -> list[str]:
    """Words in the order in which the prompt has them; words that it lacks come last."""
    bare = [word.strip(".,;:!?\"'()").lower() for word in text.split()]

    def position(word: str) -> int:
        base = base_of(word)
        return bare.index(base) if base in bare else len(bare)

    return sorted(dict.fromkeys(words), key=position)


def attended(rows: pd.DataFrame) -> dict[int, set[str]]:
    """Per prompt the words with a role that get at least the mean of such words, over all steps.

    Args:
        rows: of one model, as `of_prompts` returns them.
    """
    with_role = rows[~rows["role"].isin(("", "special"))]
    out: dict[int, set[str]] = {}
    for prompt, rows_of_prompt in with_role.groupby("prompt_id"):
        mean = rows_of_prompt.groupby("word")["value"].mean()
        out[int(str(prompt))] = {base_of(word) for word in mean.index[mean >= mean.mean()]}
    return out


def role_curves(ask: Ask, source: str, group: str = "all", *, total: bool = False) -> pd.DataFrame:
    """What the words of each role get at each step, with 95 % t limits over the prompts that have the role.

    Args:
        ask: answers questions to the snapshot.
        source: attention or relevance.
        group: of layers.
        total: the sum over the role's words, as in Park et al. 2024, in place of their mean.

    Returns:
        model_id, role, step, prompts, mean, sd, low, high.
    """
    rows = ask("role_curves", source=source, layer_group=group)
    column = "total" if total else "each"
    table = rows.assign(mean=rows[column], sd=rows[f"{column}_sd"])
    table = table[["model_id", "role", "step", "prompts", "mean", "sd"]]
    return chance.intervals(table, "mean", "sd", "prompts")


def role_sums(ask: Ask, source: str, group: str = "all") -> pd.DataFrame:
    """What the words of each role get together, averaged over the steps, with 95 % t limits over prompts.

    Returns:
        model_id, role, prompts, mean, sd, low, high.
    """
    rows = ask("role_sums", source=source, layer_group=group)
    return chance.intervals(rows, "mean", "sd", "prompts")


def sums_over_steps(rows: pd.DataFrame, by: Sequence[str], order: Sequence[str]) -> pd.DataFrame:
    """The sum of `value` over the steps per group and word, as in Park et al. 2024.

    Args:
        rows: the columns of `by`, word and value.
        by: columns that name a group.
        order: of the words.
    """
    sums = rows.groupby([*by, "word"], sort=False)["value"].sum().reset_index()
    sums["word"] = pd.Categorical(sums["word"], list(order), ordered=True)
    return sums.sort_values(["word", *by]).assign(word=lambda t: t["word"].astype(str))
