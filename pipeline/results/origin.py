"""What results were made with, in `made-with/` of a results folder: command, commit, installed packages, lock files, hardware.

One record for each combination, named after a hash of it, so that parts and machines write beside one another and a run that is
resumed adds nothing; beside each record the packages as a lock file, for `pip install -r`.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from pipeline.errors import StoreError
from pipeline.results import safe_files
from pipeline.results.folder import Results
from pipeline.results.record import git_commit, processor, read_json
from pipeline.results.storage import explain_os_error, write_whole

ROOT = Path(__file__).resolve().parents[2]
# Variables that change numbers or devices; no other is recorded, for some hold secrets.
VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "CUBLAS_WORKSPACE_CONFIG",
             "NVIDIA_TF32_OVERRIDE", "PYTORCH_CUDA_ALLOC_CONF", "HF_HUB_OFFLINE")  # fmt: skip
LOCKS = re.compile(r"requirements[\w.-]*\.txt|[\w.-]*lock[\w.-]*\.(txt|toml|json)|[\w.-]+\.lock")
RECORD = re.compile(r"[0-9a-f]{16}\.json")
FILE = re.compile(r"[0-9a-f]{16}\.(json|lock\.txt)")
MOST = 1000  # records that are read
MOST_BYTES = 2**22  # of a file that is copied


def save_origin(results: Results) -> Path:
    """Writes down what this process makes results with, unless it says so already. Returns the file.

    Raises:
        StoreError: it cannot be written.
    """
    text = json.dumps(origin(), indent=1, sort_keys=True) + "\n"
    folder = results.folder / "made-with"
    path = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"
    try:
        safe_files.make_folder(folder)
    except OSError as error:
        raise StoreError(explain_os_error(folder, error)) from error
    for file, write in ((path.with_suffix(".lock.txt"), lock_file), (path, lambda: text)):
        if not safe_files.is_regular(file):
            write_whole(file, write().encode())
    return path


def lock_file() -> str:
    """The exact version of every installed package, as `pip install -r` reads it.

    What was installed from an address or a folder is a comment, for its version alone does not lead back to it.
    """
    lines = [f"# Python {platform.python_version()} on {platform.platform()}, commit {_commit() or 'unknown'}"]  # fmt: skip
    for name, version, direct in _distributions():
        lines.append(f"# {name}=={version} from an address or a folder" if direct else f"{name}=={version}")  # fmt: skip
    return "\n".join(lines) + "\n"


def copy_origins(results: Results, sources: Sequence[Results]) -> None:
    """Brings the records of other results folders into one, as `merge` does with their shards. Names are hashes: none differs.

    Raises:
        StoreError: they cannot be read or written.
    """
    folder = results.folder / "made-with"
    for source in sources:
        try:
            paths = sorted(
                p for p, _ in safe_files.regular_files(source.folder / "made-with", FILE)
            )
            for path in paths[: 2 * MOST]:
                safe_files.make_folder(folder)
                if not safe_files.is_regular(folder / path.name):
                    write_whole(folder / path.name, safe_files.read_capped(path, MOST_BYTES))
        except OSError as error:
            raise StoreError(explain_os_error(source.folder / "made-with", error)) from error


def load_origins(results: Results) -> list[dict[str, Any]]:
    """Every record of a results folder; none where an older version made it. Damaged ones are left out."""
    try:
        folder = results.folder / "made-with"
        paths = sorted(path for path, _ in safe_files.regular_files(folder, RECORD))
    except OSError:
        return []
    records = []
    for path in paths[:MOST]:
        try:
            records.append(read_json(path))
        except StoreError:
            continue
    return records


def origin() -> dict[str, Any]:
    """Command, commit, packages, lock files, hardware and variables of this process."""
    return {
        "command": _command(),
        "git_commit": _commit(),
        "python": platform.python_version(),
        "packages": _packages(),
        "locks": dict(_locks()),
        "hardware": _hardware(),
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
    }


def package_differences(stored: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """The packages whose versions differ between two records, one line each."""
    a, b = stored.get("packages"), here.get("packages")
    if not isinstance(a, dict) or not isinstance(b, dict):
        return []
    return [
        f"{name}: {a.get(name, 'not installed')!s:.40} there, {b.get(name, 'not installed')!s:.40} here"
        for name in sorted({*a, *b}, key=str)
        if a.get(name) != b.get(name)
    ]


def _command() -> list[str]:
    if Path(sys.argv[0]).name == "__main__.py":
        return ["python", "-m", Path(sys.argv[0]).parent.name, *sys.argv[1:]]
    return list(sys.argv)


_commit = cache(git_commit)


def _packages() -> Mapping[str, str]:
    return {name: version for name, version, _ in _distributions()}


@cache
def _distributions() -> tuple[tuple[str, str, bool], ...]:
    """(name, version, whether it is from an address or a folder: PEP 610) of every installed package."""
    named = {
        re.sub(r"[-_.]+", "-", name).lower(): (
            each.version,
            bool(each.read_text("direct_url.json")),
        )
        for each in metadata.distributions()
        if (name := each.metadata["Name"])
    }
    return tuple((name, *named[name]) for name in sorted(named))


@cache
def _locks() -> tuple[tuple[str, str], ...]:
    return tuple(
        (path.name, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in sorted(ROOT.iterdir())
        if LOCKS.fullmatch(path.name) and path.is_file()
    )


def _hardware() -> dict[str, Any]:
    """Processor, cores, memory; the GPUs and their driver, as the driver lists them."""
    return {
        "machine": platform.machine(),
        "platform": platform.platform(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "gpus": [_line(path, "Model") for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))],
        "gpu_driver": _line(Path("/proc/driver/nvidia/version"), "NVRM version"),
    }  # fmt: skip


def _line(path: Path, key: str) -> str:
    """What a file of the driver says of something; "" where it says nothing."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return ""
    return next((li.partition(":")[2].strip() for li in lines if li.startswith(key)), "")
