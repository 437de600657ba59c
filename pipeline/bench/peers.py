"""Word maps and their cost beside the peers', each in a virtual environment of its own: `python -m pipeline.bench.peers`.

A peer that cannot be installed or run is a line that says so. What runs there is `pipeline.bench.peer_side`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.tables import markdown_table

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENTS = ROOT / "data" / "results" / "peers"
LEAST = 0.99


@dataclass(frozen=True)
class Peer:
    """A package to compare with.

    Attributes:
        name: as `pipeline.bench.peer_side` knows it.
        package: what pip installs.
        alone: without what the package asks for.
        note: what a reader of its lines should know.
    """

    name: str
    package: str
    alone: bool = False
    note: str = ""


PEERS = (
    Peer(
        "daam",
        "daam==0.2.0",
        alone=True,
        note="installed without what it asks for (diffusers 0.21.2, transformers 4.30.2) and run with this project's; it "
        "upsamples coarse layers bicubically and cuts each head at zero, ours are upsampled bilinearly, so that maps of all "
        "layers together differ where those of each layer agree",
    ),
    Peer("attention-map-diffusers", "attention_map_diffusers==1.0.0"),
)


class PeerError(Exception):
    """A peer could not be installed or run: the last line of what it said."""


def environment_of(peer: Peer, folder: Path = ENVIRONMENTS) -> Path:
    """The Python of a virtual environment with the peer; packages of this one are seen from there, those of its own first.

    Raises:
        PeerError: it cannot be made, or pip fails.
    """
    environment = folder / peer.name
    ready = environment / peer.package
    python = Path(venv.EnvBuilder().ensure_directories(environment).env_exe)
    if ready.exists():
        return python
    shutil.rmtree(environment, ignore_errors=True)
    try:
        venv.create(environment, with_pip=False, symlinks=os.name != "nt")
        here = sysconfig.get_path("purelib")
        there = _asked(python, "import sysconfig; print(sysconfig.get_path('purelib'))")
        Path(there, "project.pth").write_text(f"{here}\n", encoding="utf-8")
    except OSError as error:
        raise PeerError(f"no virtual environment: {error}") from error
    options = ["--no-deps"] if peer.alone else []
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python)]
    said([*pip, "install", "--quiet", *options, peer.package], 600)
    ready.touch()
    return python


def _asked(python: Path, code: str) -> str:
    return said([str(python), "-c", code], 60).strip()


def said(command: Sequence[str], seconds: float) -> str:
    """What a command prints.

    Raises:
        PeerError: it fails, or takes longer.
    """
    offline = os.environ | {"HF_HUB_OFFLINE": "1"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=ROOT, timeout=seconds, env=offline
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PeerError(str(error)) from error
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
        raise PeerError(next((line for line in reversed(lines) if line.strip()), lines[-1])[:300])
    return done.stdout


def compare(peer: Peer, repeats: int, folder: Path = ENVIRONMENTS) -> list[dict[str, Any]]:
    """The comparisons of `pipeline.bench.peer_side` with one peer.

    Raises:
        PeerError: it cannot be installed or run.
    """
    python = environment_of(peer, folder)
    command = [str(python), "-W", "ignore", "-m", f"{__package__}.peer_side", peer.name]
    lines = said([*command, "--repeats", str(repeats)], 1800).strip().splitlines()
    return json.loads(lines[-1])


def row(peer: Peer, measured: dict[str, Any]) -> tuple[list[str], bool]:
    """A line of the table, and whether ours is as it should be: the same maps, at a lower cost."""
    ours, theirs = measured["ours"], measured["peer"]
    met = measured["spearman"] >= LEAST and ours < theirs and measured["same_images"]
    return [
        peer.package,
        f"{measured['model']}, {measured['layers']} layers, {measured['steps']}",
        f"{measured['spearman']:.4f} ({measured['words']} words)",
        f"{measured['all_layers']:.4f}",
        f"{measured['difference']:.0e}",
        f"{measured['plain']:.2f} s",
        f"{theirs:.2f}x",
        f"{ours:.2f}x",
        "met" if met else "**not met**",
    ], met


HEAD = (
    "peer",
    "model, what is looked at",
    "word maps of each layer: lowest Spearman",
    "of all layers together",
    "largest difference of a layer's maps of sum 1",
    "plain run, CPU time",
    "with the peer",
    "with ours",
    f"wanted: at least {LEAST}, ours lower",
)


def table(rows: Sequence[Sequence[str]]) -> str:
    """The rows as Markdown."""
    return markdown_table(HEAD, rows)


def skipped(peer: Peer, reason: str) -> list[str]:
    """The line of a peer that was not compared."""
    return [peer.package, f"skipped: {reason}".replace("|", "/"), *[""] * (len(HEAD) - 2)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; exits 1 if a bar is not met, 0 if peers were only skipped."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.bench.peers", description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args(arguments)
    rows, all_met = [], True
    for peer in PEERS:
        try:
            for measured in compare(peer, options.repeats):
                cells, met = row(peer, measured)
                rows.append(cells)
                all_met = all_met and met
        except PeerError as error:
            rows.append(skipped(peer, str(error)))
    print(table(rows))
    notes = [f"{peer.package}: {peer.note}." for peer in PEERS if peer.note]
    print("\n" + "\n".join(notes))
    return 0 if all_met else 1


if __name__ == "__main__":
    sys.exit(main())
