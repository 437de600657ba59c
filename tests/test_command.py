"""The command `stepscope`: every command of the pipeline and of the app by one name."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from stepscope import __main__ as command

ROOT = Path(__file__).resolve().parents[1]


def test_every_command_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    shown = {line.split()[0] for line in lines if line.startswith("  ")}
    document = (ROOT / "docs" / "cli.md").read_text()  # what --help prints: tests/test_docs.py
    piped = set(re.findall(r"^## `python -m pipeline ([a-z]+)`", document, re.MULTILINE))
    assert {"run", "publish", "demo"} < piped
    assert shown == piped | {"app", "figures", "site", "gate", "import", "backup"}


def test_arguments_and_exit_status_are_those_of_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in (["status", str(tmp_path)], ["site", str(tmp_path), "--out", "x"]):
        assert command.main(arguments) == 2
        said = capsys.readouterr()
        assert str(tmp_path) in said.err and not said.out
    with pytest.raises(SystemExit) as ended:
        command.main(["figures", "--help"])
    assert ended.value.code == 0 and "--venue" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "advice"), [("publsh", "Did you mean publish?"), ("xyz", "Commands: app, figures")]
)
def test_an_unknown_command_is_one_line(name: str, advice: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "stepscope", name], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2 and not done.stdout
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: there is no command '{name}'. ") and advice in line


def arguments(*words: str) -> list[str]:
    return command.streamlit_arguments(command.parse_dashboard(words))


def test_the_dashboards_options_are_streamlits() -> None:
    run, script, *rest = arguments()
    assert run == "run" and Path(script) == ROOT / "app" / "main.py"
    assert rest == ["--server.address=localhost", "--server.port=8501", "--"]
    _, _, *rest = arguments(
        "results", "--address", "0.0.0.0", "--port", "80", "--host", "a.example.com", "--base-path", "/x/", "--no-sql"
    )  # fmt: skip
    assert rest == [
        "--server.address=0.0.0.0",
        "--server.port=80",
        *(f"--server.allowedHosts={name}" for name in ("localhost", "127.0.0.1", "::1", "a.example.com")),
        "--server.baseUrlPath=x",
        "--",
        "--no-sql",
        "results",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (["site", "--help"], 0, "--out"),
        (["--help"], 0, "backup"),
        (["run", "x.toml"], 2, "pip install 'stepscope[run]'"),
    ],
)
def test_the_apps_commands_need_no_package_of_the_pipeline(
    words: list[str], status: int, text: str
) -> None:
    code = "import sys; sys.modules['msgspec'] = None; from stepscope.__main__ import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == status, done.stderr
    assert text in done.stdout + done.stderr and "Traceback" not in done.stderr
