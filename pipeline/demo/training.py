"""The training loop of the demo models: budgeted by steps and by the clock, and resumable.

Every step draws its batch and its noise from generators seeded with the step's number, so that a
run that was stopped and resumed ends with the same weights as one that was not.
"""

import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm


@dataclass(frozen=True)
class Budget:
    """How long to train: whichever of the steps and the minutes is used up first."""

    steps: int
    minutes: float = float("inf")

    def spent(self, step: int, minutes: float) -> float:
        """The share of the budget that is used up; 1 or more when training is over."""
        return max(step / self.steps, minutes / self.minutes)


@dataclass(frozen=True)
class Stage:
    """One model to train.

    Attributes:
        name: of the checkpoint.
        model: every parameter to train.
        loss: the loss of a step, from the step's number and a generator seeded with it.
        learning_rate: the peak, after the warm-up.
        ema_decay: of the averaged weights, in the long run.
        keep_at: shares of the budget at which a copy of the averaged weights is kept.
        on_copy: is given the file of each copy.
        bfloat16: whether the loss is computed under bfloat16 autocast.
    """

    name: str
    model: nn.Module
    loss: Callable[[int, torch.Generator], Tensor]
    learning_rate: float
    ema_decay: float = 0.999
    weight_decay: float = 0.01
    keep_at: tuple[float, ...] = ()
    on_copy: Callable[[Path], object] = Path
    warmup_steps: int = 100
    bfloat16: bool = True


@dataclass
class Progress:
    """Where a training stands."""

    step: int = 0
    minutes: float = 0.0
    loss: float = float("nan")
    examples: int = 0


def fit(
    stage: Stage, budget: Budget, folder: Path, *, save_every: float = 120, quiet: bool = False
) -> Progress:
    """Trains a stage until its budget is spent, from its last checkpoint if there is one.

    Ctrl-C saves a checkpoint before it is raised again; the same call then resumes from there. At the
    end the stage's model holds the averaged weights.
    """
    folder.mkdir(parents=True, exist_ok=True)
    average = Average(stage.model, stage.ema_decay)
    optimizer = torch.optim.AdamW(
        stage.model.parameters(),
        lr=stage.learning_rate,
        betas=(0.9, 0.99),
        weight_decay=stage.weight_decay,
    )
    path = folder / f"{stage.name}.safetensors"
    progress = load_checkpoint(path, stage.model, average, optimizer)
    try:
        _run(stage, budget, folder, average, optimizer, progress, save_every, quiet)
    finally:
        save_checkpoint(path, stage.model, average, optimizer, progress)
    average.copy_to(stage.model)
    stage.model.eval()
    return progress


def _run(
    stage: Stage,
    budget: Budget,
    folder: Path,
    average: "Average",
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    save_every: float,
    quiet: bool,
) -> None:
    stage.model.train()
    bar = tqdm(total=budget.steps, initial=progress.step, desc=stage.name, disable=quiet)
    saved = time.monotonic()
    with bar:
        while (spent := budget.spent(progress.step, progress.minutes)) < 1:
            start = time.monotonic()
            loss = _step(stage, optimizer, progress.step, spent)
            average.update(stage.model, progress.step)
            progress.step += 1
            progress.loss = loss if progress.step == 1 else 0.98 * progress.loss + 0.02 * loss
            progress.minutes += (time.monotonic() - start) / 60
            after = budget.spent(progress.step, progress.minutes)
            for share in stage.keep_at:
                if spent < share <= after:
                    copy = folder / f"{stage.name}-{share:g}.safetensors"
                    average.save(copy, progress)
                    stage.on_copy(copy)
            bar.update()
            bar.set_postfix_str(_remaining(progress, after), refresh=False)
            if time.monotonic() - saved > save_every:
                path = folder / f"{stage.name}.safetensors"
                save_checkpoint(path, stage.model, average, optimizer, progress)
                saved = time.monotonic()


def _remaining(progress: Progress, spent: float) -> str:
    left = progress.minutes * (1 / spent - 1) if spent > 0 else float("nan")
    return f"loss {progress.loss:.4f}, {left:.1f} min left"


def _step(stage: Stage, optimizer: torch.optim.Optimizer, step: int, spent: float) -> float:
    for group in optimizer.param_groups:
        group["lr"] = stage.learning_rate * schedule(step, spent, stage.warmup_steps)
    torch.manual_seed(step)
    generator = torch.Generator().manual_seed(step)
    precision: AbstractContextManager = nullcontext()
    if stage.bfloat16:
        precision = torch.autocast("cpu", torch.bfloat16)
    with precision:
        loss = stage.loss(step, generator)
    if not torch.isfinite(loss):
        raise FloatingPointError(f"{stage.name}: loss {loss.item()} at step {step}.")
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(stage.model.parameters(), 1.0)
    optimizer.step()
    return loss.item()


def schedule(step: int, spent: float, warmup_steps: int, floor: float = 0.02) -> float:
    """The share of the peak learning rate: a linear warm-up, then a linear fall to the floor."""
    warm = min(1.0, (step + 1) / warmup_steps)
    return warm * max(floor, 1 - (1 - floor) * spent)


class Average:
    """The exponential moving average of a model's parameters and buffers, with a warm-up."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.state = {name: value.detach().clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Moves the average towards the model; the average spans a tenth of the steps at first."""
        weight = 1 - min(self.decay, (1 + step) / (10 + step))
        current = model.state_dict()
        floating = [name for name, value in self.state.items() if value.is_floating_point()]
        torch._foreach_lerp_(
            [self.state[name] for name in floating], [current[name] for name in floating], weight
        )
        for name in self.state.keys() - set(floating):
            self.state[name].copy_(current[name])

    def copy_to(self, model: nn.Module) -> None:
        """Gives the model the averaged weights."""
        model.load_state_dict(self.state)

    def save(self, path: Path, progress: Progress) -> None:
        """Writes the averaged weights, with the progress as metadata."""
        _write(path, self.state, progress)


def save_checkpoint(
    path: Path,
    model: nn.Module,
    average: Average,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
) -> None:
    """Writes weights, averaged weights, optimiser state and progress into one safetensors file."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"average.{name}": value for name, value in average.state.items()}
    for index, values in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in values.items()}
    _write(path, tensors, progress)


def load_checkpoint(
    path: Path, model: nn.Module, average: Average, optimizer: torch.optim.Optimizer
) -> Progress:
    """Restores what `save_checkpoint` wrote; a new `Progress` if the file does not exist."""
    if not path.exists():
        return Progress()
    tensors, progress = read_tensors(path)
    model.load_state_dict(_under("model.", tensors))
    average.state = _under("average.", tensors)
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in _under("optimizer.", tensors).items():
        index, key = name.split(".")
        state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
    return progress


def load_average(path: Path, model: nn.Module) -> Progress:
    """Gives the model the averaged weights of a checkpoint or of a kept copy."""
    tensors, progress = read_tensors(path)
    average = _under("average.", tensors)
    model.load_state_dict(average or tensors)
    model.eval()
    return progress


def read_tensors(path: Path) -> tuple[dict[str, Tensor], Progress]:
    """All tensors of a checkpoint, and its progress."""
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return tensors, Progress(**json.loads((file.metadata() or {}).get("progress", "{}")))


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }


def _write(path: Path, tensors: dict[str, Tensor], progress: Progress) -> None:
    """Writes to a temporary file first, so that an interrupted write never loses a checkpoint."""
    contiguous = {name: value.detach().clone().contiguous() for name, value in tensors.items()}
    partial = path.with_suffix(".partial")
    save_file(contiguous, partial, metadata={"progress": json.dumps(vars(progress))})
    partial.replace(path)
