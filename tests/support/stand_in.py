"""What the stand-in for an accelerator counts of some calls: `python -m tests.support.stand_in` prints it as JSON."""

import json
from collections.abc import Iterator

import torch
from torch.nn import Linear

from pipeline.bench.accelerator import Accelerator, OnDevice, move, register
from pipeline.models.transfers import HostCopy, HostTables, entry_of, index_of, to_host


class Scheduler:
    """As much of one as has tables."""

    def __init__(self) -> None:
        self.timesteps = OnDevice(torch.tensor([9, 5, 1]))
        self.sigmas = OnDevice(torch.ones(3))


def timesteps(scheduler: Scheduler) -> Iterator[int]:
    """The timesteps as a pipeline's loop gives them, by the host's copies."""
    tables = HostTables()
    for timestep in scheduler.timesteps:
        copies = tables.of(scheduler)
        yield int(entry_of(timestep, scheduler.timesteps, copies["timesteps"]))


def main() -> None:
    """Prints [counts by call, results of some calls]."""
    device = register()
    x, layer = OnDevice(torch.arange(6.0)), Linear(6, 2).requires_grad_(False)
    plain = layer(torch.ones(6))
    move(layer)
    calls = {
        "float": lambda: float(x[2]),
        "bool": lambda: bool((x > 2).any()),
        "equal": lambda: torch.equal(x, x),
        "cpu": lambda: x.cpu().tolist(),
        "tolist": lambda: x.tolist(),
        "mask": lambda: x[x > 2],
        "nonzero": lambda: x.nonzero(),
        "list": lambda: x[[0, 2]],
        "set": lambda: x.__setitem__([0, 2], 1.0),
        "number": lambda: x[2] + 1,
        "changed": lambda: x.add_(1).mul_(2).mean(),
        "later": lambda: HostCopy(x).values(),
        "to": lambda: torch.ones(2).to(device),
        "linear": lambda: torch.equal(layer(OnDevice(torch.ones(6))).numbers, plain),
        "index": lambda: [x.index_select(0, index_of((0, 2), x.device)) for _ in range(3)],
        "joined": lambda: [t.tolist() for t in to_host([x, x[:2], torch.ones(1), x.long()])],
        "loop": lambda: list(timesteps(Scheduler())),
    }
    counts, results = {}, {}
    for name, call in calls.items():
        with Accelerator() as accelerator:
            accelerator.counting = True
            result = call()
            accelerator.counting = False
        counts[name] = dict(accelerator.counts)
        if name in ("linear", "loop", "joined"):
            results[name] = result
    print(json.dumps([counts, results]))


if __name__ == "__main__":
    main()
