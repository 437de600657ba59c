"""The settings of critical windows: at which steps finished images are drawn anew, and how often."""

from __future__ import annotations

from pipeline.study.spec import ToolSpec

REDRAWS = 4


def redraws_of(spec: ToolSpec) -> int:
    """Redraws of an image at each step."""
    count = spec.options.get("redraws", REDRAWS)
    assert isinstance(count, int)
    return count


def window_calls(spec: ToolSpec, total_steps: int) -> int:
    """Denoising steps that an image costs: a plain run, and what each redraw does not share with it."""
    unshared = sum(total_steps - step for step in spec.after_start(total_steps))
    return total_steps + redraws_of(spec) * unshared
