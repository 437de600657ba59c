"""What the batched tools save against doing the same one by one: `python -m pipeline.bench.tools`.

All ratios come from one process on one model, so that the machine cancels out. The plain versions
compute the same numbers; where maps are compared, the largest difference is shown.
"""

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from pipeline.diffusion.branch import branches
from pipeline.diffusion.generate import count_calls, generate
from pipeline.diffusion.watch import Batch, Observer, StepView, Watch
from pipeline.explain import make_observers
from pipeline.explain.cam import cam_layers, df_cam, layer_cams
from pipeline.explain.maps import resize_map, scale_map
from pipeline.explain.rise import RiseOptions, make_masks, rise
from pipeline.explain.tools import clean_of, conditional_forward
from pipeline.metrics.similarity import SsimTerms
from pipeline.models import loading
from pipeline.models.scorer import Scorer
from pipeline.study.prompts import Prompt
from pipeline.study.spec import Measures, ModelSpec, ScorerSpec, ToolSpec
from pipeline.tables import markdown_table

ROOT = Path(__file__).resolve().parents[2]
TEXT = "a cat left of a rocket on a striped green background"
BASE = "a cat left of a rocket on a striped red background"
EXPLAINED = Measures(attention=ToolSpec(), df_cam=ToolSpec())
LONGER = 10
VERDICTS = {True: "met", False: "**not met**", None: ""}


@dataclass(frozen=True)
class Result:
    """One line of the table; `passed` is None where nothing is wanted and the figure explains others."""

    what: str
    against: str
    ours: str
    plain: str
    ratio: str
    wanted: str
    passed: bool | None


@dataclass(frozen=True)
class Setting:
    """A loaded model and what is run on it."""

    pipeline: Any
    spec: ModelSpec
    scorer: Scorer
    prompts: tuple[Prompt, ...]

    def run(self, observers: Sequence[Observer] = ()) -> Tensor:
        """The pipeline, watched by observers; plainly, when there are none."""
        call = {"num_inference_steps": self.spec.steps}
        if not observers:
            return generate(self.pipeline, self.spec, self.prompts, 0, call)
        with ExitStack() as stack:
            for observer in observers:
                if isinstance(observer, AbstractContextManager):
                    stack.enter_context(observer)
            stack.enter_context(Watch(self.batch(), observers))
            return generate(self.pipeline, self.spec, self.prompts, 0, call)

    def batch(self) -> Batch:
        """What observers are told of the run."""
        total = count_calls(self.pipeline.scheduler, self.spec.steps, {})
        family = loading.family_of(self.pipeline)
        return Batch(self.prompts, 0, self.pipeline, family, self.scorer, total, guided=True)


class At:
    """Observer that calls a function at one step."""

    def __init__(self, step: int, act: Callable[[StepView], None]) -> None:
        self._step, self._act = step, act

    def on_step(self, view: StepView) -> None:
        """Act at the step."""
        if view.step == self._step:
            self._act(view)

    def columns(self, item: int) -> dict[str, Any]:
        """Nothing is kept."""
        return {}


def load(
    folder: Path,
    name: str,
    steps: int,
    scorer: Path | None = None,
    options: Mapping[str, Any] | None = None,
) -> Setting:
    """A model of a folder of models, ready to run one prompt.

    Args:
        folder: where the model's folder is.
        name: of the model and its folder.
        steps: of the run.
        scorer: the scorer's folder; None = `scenes-clip` beside the model.
        options: other keys of the model's entry.
    """
    spec = ModelSpec(name, name, str(folder / name), steps=steps, guidance=4.0, **options or {})
    pipeline = loading.open_pipeline(spec, torch.device("cpu"))
    judge = Scorer(ScorerSpec(str(scorer or folder / "scenes-clip")))
    return Setting(pipeline, spec, judge, (Prompt("bench", TEXT, "", "", {}, 0),))


def seconds(act: Callable[[], Any]) -> float:
    """Wall-clock time of one call."""
    started = time.perf_counter()
    act()
    return time.perf_counter() - started


def _timed_run(setting: Setting, observers: Sequence[Observer]) -> float:
    return seconds(lambda: setting.run(observers))


def bench_rise(setting: Setting, plain_masks: int) -> list[Result]:
    """A map of the default masks in batches, against one that is no better: independent masks, one a call.

    Args:
        setting: the model.
        plain_masks: independent masks with at least the default's error (`pipeline.bench.masks` finds how many).
    """
    measured: dict[str, Any] = {}

    def measure(view: StepView) -> None:
        options, independent = RiseOptions(), independent_masks(plain_masks)
        clean, latents = clean_of(view.denoiser, 0), view.latents[0]
        target = view.denoised[0]
        inside = 0.0

        def timed(batch: Tensor) -> Tensor:
            nonlocal inside
            started = time.perf_counter()
            result = clean(batch)
            inside += time.perf_counter() - started
            return result

        clean(latents[None].expand(8, -1, -1, -1))  # warm
        with FlopCounterMode(display=False) as counter:
            clean(latents[None])
        measured["work"] = counter.get_total_flops()
        measured["ours"] = seconds(lambda: rise(timed, latents, options, target))
        measured["inside"] = inside / measured["ours"]
        measured["plain"] = seconds(lambda: plain_rise(clean, latents, target, independent))

    setting.run([At(setting.spec.steps // 2, measure)])
    masks, ratio = RiseOptions().masks, measured["plain"] / measured["ours"]
    return [
        Result(
            f"DF-RISE, {masks} masks of the default design at one step",
            f"{plain_masks} independent masks, one a call: no smaller error",
            f"{measured['ours']:.2f} s",
            f"{measured['plain']:.2f} s",
            f"{ratio:.1f}x",
            "at least 6x",
            ratio >= 6,
        ),
        Result(
            "DF-RISE: share of its time inside the denoiser",
            "",
            "",
            "",
            f"{measured['inside']:.0%}",
            "at least 85 %",
            measured["inside"] >= 0.85,
        ),
        arithmetic_bound(measured["work"] * masks, measured["ours"], measured["plain"]),
    ]


def independent_masks(count: int) -> RiseOptions:
    """RISE as it was published: independent masks, sum M S / sum M."""
    return RiseOptions(masks=count, design="independent", estimator="mean", edges=False)


def arithmetic_bound(work: float, ours: float, plain: float) -> Result:
    """How far batching could go here: the same arithmetic at the rate of one large matrix product.

    Args:
        work: floating-point operations of the whole map.
        ours, plain: seconds that the two ways take.
    """
    rate = matrix_rate()
    return Result(
        f"DF-RISE: the same arithmetic at the rate of a 2048 x 2048 matrix product ({rate / 1e9:.0f} GFLOP/s)",
        "the independent masks, one a call",
        f"{work / rate:.2f} s",
        f"{plain:.2f} s",
        f"{plain * rate / work:.1f}x",
        f"nothing: the most that batching can give; ours runs at {work / ours / rate:.0%} of that rate",
        None,
    )


def matrix_rate(side: int = 2048, repeats: int = 10) -> float:
    """Floating-point operations per second of a large float32 matrix product, the best of some tries."""
    left, right = torch.randn(side, side), torch.randn(side, side)
    return 2 * side**3 / min(seconds(lambda: left @ right) for _ in range(repeats))


def plain_rise(
    outcome: Callable[[Tensor], Tensor], latents: Tensor, target: Tensor, options: RiseOptions
) -> Tensor:
    """sum M S / sum M by a plain loop, one mask a call of the denoiser."""
    masks = make_masks(latents.shape[-2], latents.shape[-1], options)
    total = torch.zeros(latents.shape[-2:])
    for mask in masks:
        total += (
            mask * SsimTerms(target, options.similarity)(outcome((mask * latents)[None])).mean()
        )
    return scale_map(total / masks.sum(0).clamp(min=1e-6))


def bench_cam(setting: Setting) -> list[Result]:
    """All layers from one pass at one step, against one pipeline run for each layer."""
    measured: dict[str, Any] = {}
    step = setting.spec.steps // 2
    names = cam_layers(loading.denoiser_of(setting.pipeline))

    def all_layers(view: StepView) -> None:
        measured["ours"] = seconds(lambda: measured.update(map=_cam(view, df_cam)[0]))

    def one_layer(name: str) -> Callable[[StepView], None]:
        def act(view: StepView) -> None:
            size = (view.latents.shape[-2], view.latents.shape[-1])
            one = _cam(view, layer_cams, [name])[name][0]
            measured[name] = scale_map(resize_map(one, size))

        return act

    full_run = seconds(lambda: setting.run([At(step, all_layers)]))
    plain = sum(_timed_run(setting, [At(step, one_layer(name))]) for name in names)
    loop = scale_map(torch.stack([measured[name] for name in names]).sum(0))
    difference = float((measured["map"] - loop).abs().max())
    ratio = plain / measured["ours"]
    return [
        Result(
            f"DF-CAM, all {len(names)} layers at one step "
            f"(largest difference of the maps {difference:.0e})",
            "one pipeline run per layer",
            f"{measured['ours']:.2f} s ({full_run:.2f} s with the run)",
            f"{plain:.1f} s",
            f"{ratio:.0f}x ({plain / full_run:.1f}x with the run)",
            "at least 20x, same map",
            ratio >= 20 and difference <= 1e-4,
        )
    ]


def _cam(view: StepView, method: Callable[..., Any], layers: list[str] | None = None) -> Any:
    size = (view.latents.shape[-2], view.latents.shape[-1])
    forward = conditional_forward(view.denoiser, [0])
    return method(forward, view.denoiser.module, size, layers=layers)


def bench_trajectory(setting: Setting, repeats: int) -> list[Result]:
    """Attention and DF-CAM at every step in one run, against one run for each explained step."""
    ours = statistics.median(
        seconds(lambda: setting.run(make_observers(EXPLAINED, setting.batch())))
        for _ in range(repeats)
    )
    plain = 0.0
    for step in range(setting.spec.steps):
        only = ToolSpec(steps=(step,))
        measures = Measures(attention=only, df_cam=only)
        plain += _timed_run(setting, make_observers(measures, setting.batch()))
    return [
        Result(
            f"explained trajectory: attention and DF-CAM at all {setting.spec.steps} steps",
            "one pipeline run per step",
            f"{ours:.2f} s",
            f"{plain:.1f} s",
            f"{plain / ours:.1f}x",
            "at least 10x",
            plain / ours >= 10,
        )
    ]


def bench_attention(setting: Setting, repeats: int) -> list[Result]:
    """A run with raw attention at every step, against the plain pipeline; medians, alternating."""
    measures = Measures(attention=ToolSpec())
    on, off = [], []
    for _ in range(repeats):
        off.append(seconds(setting.run))
        on.append(seconds(lambda: setting.run(make_observers(measures, setting.batch()))))
    ours, plain = statistics.median(on), statistics.median(off)
    return [
        Result(
            "raw attention at every step",
            "plain pipeline",
            f"{ours:.2f} s",
            f"{plain:.2f} s",
            f"{ours / plain:.2f}x",
            "at most 1.15x",
            ours / plain <= 1.15,
        )
    ]


SWITCHES = 8  # points of a success curve, both ends among them


def bench_switch(setting: Setting, repeats: int) -> list[Result]:
    """The images of a prompt switch at eight points, their shared steps computed once, against plain runs; medians, alternating."""
    module, total = loading.denoiser_of(setting.pipeline), setting.batch().total_steps
    base = tuple(replace(prompt, text=BASE) for prompt in setting.prompts)
    runs = (replace(setting, prompts=base).run, setting.run)
    points = [round(i * total / (SWITCHES - 1)) for i in range(SWITCHES)]
    ours, plain = [], []
    for _ in range(repeats):
        plain.append(seconds(setting.run))
        ours.append(seconds(lambda: list(branches(module, *runs, points[:-1], total))))
    ratio = statistics.median(ours) / statistics.median(plain)
    return [
        Result(
            f"prompt switching at {SWITCHES} of {total} steps, from either plain image to the other",
            "one plain run",
            f"{statistics.median(ours):.2f} s",
            f"{statistics.median(plain):.2f} s",
            f"{ratio:.2f}x",
            "at most 5.5x (8x without sharing)",
            ratio <= 5.5,
        )
    ]


def bench_option(setting: Setting, folder: Path, option: str, repeats: int) -> list[Result]:
    """A run with a speed option of a model's entry, against the plain pipeline; medians, alternating.

    Args:
        setting: the plain pipeline.
        folder: where its folder is.
        option: "channels_last" or "compile"; a C++ compiler is needed for the second on a CPU.
        repeats: runs of each.
    """
    wanted = "same image to 1e-3; the gain is reported"
    what = f"{option} = true in a model's entry, a run of {setting.spec.steps} steps"
    if option == "compile" and compiler() is None:
        return [Result(what, "", "", "", "skipped: no C++ compiler (g++ or clang++)", wanted, True)]
    fast = load(folder, setting.spec.name, setting.spec.steps, options={option: True})
    first = seconds(fast.run)
    on, off = [], []
    for _ in range(repeats):
        off.append(seconds(setting.run))
        on.append(seconds(fast.run))
    ours, plain = statistics.median(on), statistics.median(off)
    difference = float((fast.run() - setting.run()).abs().max())
    return [
        Result(
            f"{what} (first run {first:.1f} s; largest difference of the image {difference:.0e})",
            "plain pipeline",
            f"{ours:.2f} s",
            f"{plain:.2f} s",
            f"{plain / ours:.2f}x",
            wanted,
            difference <= 1e-3,
        )
    ]


def compiler() -> str | None:
    """The C++ compiler that `torch.compile` would use on a CPU; None if there is none."""
    return shutil.which(os.environ.get("CXX", "g++")) or shutil.which("clang++")


def bench_memory(folder: Path, name: str, steps: int) -> list[Result]:
    """Peak memory of an explained run of ten times the steps, each in a process of its own."""
    short, long = (_peak(folder, name, count) for count in (steps, LONGER * steps))
    return [
        Result(
            f"peak memory, attention and DF-CAM at all of {LONGER * steps} steps",
            f"{steps} steps",
            f"{long:.0f} MB",
            f"{short:.0f} MB",
            f"{long / short:.2f}x",
            "at most 1.1x",
            long / short <= 1.1,
        )
    ]


def _peak(folder: Path, name: str, steps: int) -> float:
    command = [
        sys.executable,
        "-m",
        f"{__package__}.tools",
        "--models",
        str(folder),
        "--model",
        name,
    ]
    command += ["--steps", str(steps), "--peak-memory"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    return float(done.stdout.strip().splitlines()[-1])


def peak_memory(setting: Setting) -> float:
    """Runs once, explained, and returns this process's peak in MB."""
    setting.run(make_observers(EXPLAINED, setting.batch()))
    return peak_mb()


def peak_mb() -> float:
    """Peak resident memory of this process in MB; ru_maxrss would count what its parent held when it was started."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def table(results: Sequence[Result]) -> str:
    """The results as Markdown."""
    head = ["measured", "against", "ours", "plain", "ratio", "wanted", ""]
    rows = [
        [r.what, r.against, r.ours, r.plain, r.ratio, r.wanted, VERDICTS[r.passed]] for r in results
    ]
    return markdown_table(head, rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; exits 1 if a bar is not met."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.bench.tools", description=__doc__)
    parser.add_argument("--models", type=Path, default=ROOT / "data" / "models")
    parser.add_argument("--model", default="scenes-unet")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--masks", type=int, default=500, help="independent masks, one a call")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--peak-memory", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    setting = load(options.models, options.model, options.steps)
    if options.peak_memory:
        print(peak_memory(setting))
        return 0
    setting.run()  # warm
    results = bench_rise(setting, options.masks)
    results += bench_cam(setting)
    results += bench_trajectory(setting, max(1, options.repeats // 2))
    results += bench_attention(setting, options.repeats)
    results += bench_switch(setting, options.repeats)
    for option in ("channels_last", "compile"):
        results += bench_option(setting, options.models, option, options.repeats)
    results += bench_memory(options.models, options.model, options.steps)
    print(f"{options.model}, {options.steps} steps, {torch.get_num_threads()} threads\n")
    print(table(results))
    return 1 if any(result.passed is False for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
