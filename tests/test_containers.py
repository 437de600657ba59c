"""Containers without an engine: the Dockerfiles, compose.yaml and the Kubernetes example, read and compared with the code.

The steps of the dashboard's image are run by tests/install.
"""

from __future__ import annotations

import ast
import json
import re
import tomllib
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.database import notebook, snapshots
from app.figures import site, space
from deploy import wheel
from stepscope import __main__ as command
from tests.support import dockerfile
from tests.support.texts import HOSTILE

ROOT = Path(__file__).resolve().parents[1]
STAGES = dockerfile.stages((ROOT / "Dockerfile").read_text())
TARGETS = ("pipeline", "app")
USER = "10001"


@cache
def version() -> str:
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"])


def line_of(stage: str) -> list[dockerfile.Stage]:
    """A stage and those that it is based on, the first one first."""
    line = [STAGES[stage]]
    while line[0].base in STAGES:
        line.insert(0, STAGES[line[0].base])
    return line


def environment(stage: str) -> dict[str, str]:
    return {k: v for each in line_of(stage) for k, v in each.environment().items()}


class TestDockerfile:
    def test_the_last_target_is_the_dashboard(self) -> None:
        assert list(STAGES)[-1] == "app" and "pipeline" in STAGES

    def test_images_are_of_a_version(self) -> None:
        bases = {stage.base for stage in STAGES.values()} - set(STAGES)
        assert bases == {"python:3.11-slim"}

    def test_every_source_is_in_the_build_context_or_an_earlier_stage(self) -> None:
        files, earlier = dockerfile.context(ROOT), list[str]()
        for stage in STAGES.values():
            for origin, sources, _ in stage.copies():
                assert not origin or origin in earlier
                for source in () if origin else sources:
                    assert dockerfile.chosen(source, files), source
            earlier.append(stage.name)

    def test_the_context_holds_what_the_wheel_is_made_of_and_no_more(self) -> None:
        files = dockerfile.context(ROOT)
        needed = {*wheel.FILES, *wheel.EXTRAS.values(), wheel.BASE, "deploy/wheel.py"}
        assert needed <= set(files)
        assert all(dockerfile.chosen(f"data/{folder}/", files) for folder in wheel.DATA)
        kept_out = (
            "tests/",
            "docs/gallery",
            "data/results",
            "data/reference",
            ".git",
            ".ci",
            ".venv",
        )
        assert not [f for f in files if f.startswith(kept_out)]
        for name in (
            ".git/HEAD",
            ".streamlit/secrets.toml",
            "app/__pycache__/x.pyc",
            "data/results/demo/x.duckdb",
        ):
            assert dockerfile.is_ignored(name, (ROOT / ".dockerignore").read_text().splitlines()), (
                name
            )

    @pytest.mark.parametrize("target", TARGETS)
    def test_nothing_runs_as_root(self, target: str) -> None:
        assert STAGES[target].last("USER") == f"{USER}:{USER}"
        commands = [text for stage in line_of(target) for text in stage.all("RUN")]
        assert any(f"useradd --uid {USER} " in text for text in commands)
        owned = re.findall(rf"install -d -o {USER} -g {USER} (.*)$", " ".join(commands))[0].split()
        for volume in json.loads(STAGES[target].last("VOLUME")):
            assert volume in owned, "a new volume belongs to whom the image's folder belongs to"

    @pytest.mark.parametrize("target", TARGETS)
    def test_labels_and_the_version(self, target: str) -> None:
        text = " ".join(label for stage in line_of(target) for label in stage.all("LABEL"))
        labels = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="([^"]*)"', text))
        assert set(labels) == {"title", "description", "version", "revision", "licenses"}
        assert labels["version"] == version()

    def test_packages_are_installed_by_their_hashes_and_leave_nothing_behind(self) -> None:
        installs = [
            text
            for name in ("app-packages", "pipeline-packages")
            for text in STAGES[name].all("RUN")
            if " install " in text
        ]
        assert len(installs) == 4
        for text in installs:
            assert "--no-cache-dir" in text and "--no-compile" in text and "|| true" not in text
        assert "--require-hashes --requirement requirements-app.lock" in installs[0]
        assert "--require-hashes --requirement requirements-run.lock" in installs[2]
        assert "--no-index" in installs[1] and "--no-index" in installs[3]
        assert not [
            line for line in STAGES["app-packages"].all("RUN") if "requirements.txt" in line
        ]

    def test_the_wheel_knows_the_commit(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The build context has no .git; what the pipeline's image makes still says of which commit it is."""
        (run,) = STAGES["wheel"].all("RUN")
        assert run.startswith("STEPSCOPE_COMMIT=${REVISION} ")
        assert "REVISION=" in STAGES["wheel"].all("ARG")
        assert wheel.commit(tmp_path) == ""
        for named, known in (
            ("a1" * 20, "a1" * 20),
            ("main; x", ""),
            ("a1" * 20 + "+", "a1" * 20 + "+"),
        ):
            monkeypatch.setenv("STEPSCOPE_COMMIT", named)
            assert wheel.commit(tmp_path) == known

    def test_the_entry_is_a_command_line_of_the_dashboard(self) -> None:
        words = [*STAGES["app"].command("ENTRYPOINT"), *STAGES["app"].command("CMD")]
        assert words[:2] == ["stepscope", "app"]
        options = command.parse_dashboard([*words[2:], "--host", "a.example.com"])
        assert (options.address, options.port, options.path) == ("0.0.0.0", 8501, ["/srv/studies"])
        assert STAGES["app"].last("EXPOSE") == str(options.port)
        assert environment("app")[notebook.FOLDER] in json.loads(STAGES["app"].last("VOLUME"))

    def test_the_health_check_asks_streamlit(self) -> None:
        python, option, code = STAGES["app"].command("HEALTHCHECK")
        assert (python, option) == ("python", "-c") and "/_stcore/health" in code
        ast.parse(code)
        assert STAGES["pipeline"].last("HEALTHCHECK") == "NONE"


COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICE_KEYS = {
    "build", "image", "command", "environment", "user", "read_only", "cap_drop", "security_opt", "tmpfs", "volumes",
    "healthcheck", "mem_limit", "restart", "depends_on", "ports",
}  # fmt: skip


class TestCompose:
    def test_keys_are_those_of_the_specification(self) -> None:
        """github.com/compose-spec/compose-spec, schema/compose-spec.json."""
        assert set(COMPOSE) == {"name", "services", "volumes"}
        assert set(COMPOSE["services"]) == {"app", "proxy"}
        for service in COMPOSE["services"].values():
            assert set(service) <= SERVICE_KEYS
            assert set(service["healthcheck"]) == {
                "test",
                "interval",
                "timeout",
                "start_period",
                "retries",
            }
            assert all(isinstance(value, str) for value in service["environment"].values())

    @pytest.mark.parametrize("name", ["app", "proxy"])
    def test_services_have_few_rights(self, name: str) -> None:
        service = COMPOSE["services"][name]
        assert service["read_only"] is True and service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["user"].split(":")[0] not in ("0", "root")
        assert any(mount.startswith("/tmp:") for mount in service["tmpfs"])
        assert re.fullmatch(r"[\w./-]+:\d[\w.-]*", service["image"]), "of a version"

    def test_every_file_and_target_exists(self) -> None:
        app = COMPOSE["services"]["app"]
        assert app["build"]["target"] in STAGES and (ROOT / app["build"]["context"]).is_dir()
        assert app["image"].endswith(f":{version()}")
        for mount in COMPOSE["services"]["proxy"]["volumes"]:
            assert (ROOT / mount.split(":")[0]).is_file(), mount
        assert {m.split(":")[0] for m in app["volumes"] if m[0] not in "./$"} == set(
            COMPOSE["volumes"]
        )

    def test_studies_are_read_only_and_reviews_have_the_volume(self) -> None:
        app = COMPOSE["services"]["app"]
        studies, reviews = app["volumes"]
        assert studies.endswith(":/srv/studies:ro") and reviews == "reviews:/srv/reviews"
        assert app["environment"][notebook.FOLDER] == "/srv/reviews"
        options = command.parse_dashboard(
            [*STAGES["app"].command("ENTRYPOINT")[2:], *app["command"]]
        )
        assert options.path == ["/srv/studies"] and len(options.host) == 1

    def test_the_proxys_names_are_those_of_the_template(self) -> None:
        template = (ROOT / "deploy" / "nginx.conf.template").read_text()
        proxy, app = COMPOSE["services"]["proxy"], COMPOSE["services"]["app"]
        assert set(proxy["environment"]) == set(re.findall(r"\$\{(\w+)\}", template))
        environment = proxy["environment"]
        assert environment["BASE"] == app["environment"]["STREAMLIT_SERVER_BASE_URL_PATH"]
        assert environment["APP"] == f"app:{STAGES['app'].last('EXPOSE')}"
        assert proxy["ports"][0].endswith(f":{environment['LISTEN']}")
        for service in (proxy, app):
            assert f"/{environment['BASE']}/_stcore/health" in service["healthcheck"]["test"][-1]
        assert proxy["depends_on"]["app"]["condition"] == "service_healthy"

    def test_every_variable_is_explained(self) -> None:
        text = (ROOT / "compose.yaml").read_text()
        used = set(re.findall(r"\$\{(\w+):-[^}]+\}", text))
        assert used == set(re.findall(r"^#   (\w+)  ", text, re.MULTILINE)) and len(used) == 3
        assert "$" not in re.sub(r"\$\{\w+:-[^}]+\}", "", text)


OBJECTS = {
    (each["kind"], each["metadata"]["name"]): each
    for each in yaml.safe_load_all((ROOT / "deploy" / "kubernetes.yaml").read_text())
}


class TestKubernetes:
    deployment = OBJECTS["Deployment", "stepscope"]["spec"]
    pod = deployment["template"]["spec"]

    @property
    def container(self) -> dict[str, Any]:
        (container,) = self.pod["containers"]
        return dict(container)

    def test_one_server_has_the_reviews(self) -> None:
        assert self.deployment["replicas"] == 1
        assert self.deployment["strategy"] == {"type": "Recreate"}

    def test_it_has_few_rights(self) -> None:
        assert self.pod["automountServiceAccountToken"] is False
        assert self.pod["securityContext"]["runAsNonRoot"] is True
        assert {self.pod["securityContext"][k] for k in ("runAsUser", "runAsGroup", "fsGroup")} == {
            int(USER)
        }
        rights = self.container["securityContext"]
        assert (
            rights["readOnlyRootFilesystem"] is True and rights["allowPrivilegeEscalation"] is False
        )
        assert rights["capabilities"] == {"drop": ["ALL"]}

    @pytest.mark.parametrize("probe", ["startupProbe", "readinessProbe", "livenessProbe"])
    def test_probes_ask_streamlit(self, probe: str) -> None:
        assert self.container[probe]["httpGet"] == {"path": "/_stcore/health", "port": "http"}
        (port,) = self.container["ports"]
        assert port == {"name": "http", "containerPort": int(STAGES["app"].last("EXPOSE"))}

    def test_volumes_are_those_that_are_mounted_and_claimed(self) -> None:
        mounts = {m["name"]: m for m in self.container["volumeMounts"]}
        volumes = {v["name"]: v for v in self.pod["volumes"]}
        assert set(mounts) == set(volumes)
        assert mounts["studies"]["readOnly"] is True and not mounts["reviews"].get("readOnly")
        (setting,) = self.container["env"]
        assert setting == {"name": notebook.FOLDER, "value": mounts["reviews"]["mountPath"]}
        claims = [
            v["persistentVolumeClaim"]["claimName"] for v in volumes.values() if "emptyDir" not in v
        ]
        assert {("PersistentVolumeClaim", name) for name in claims} < set(OBJECTS)
        assert mounts["tmp"]["mountPath"] == environment("app")["HOME"]

    def test_the_host_is_the_ingresss(self) -> None:
        ingress = OBJECTS["Ingress", "stepscope"]["spec"]
        options = command.parse_dashboard(self.container["args"])
        (rule,), (tls,) = ingress["rules"], ingress["tls"]
        assert options.host == [rule["host"]] == tls["hosts"] and options.path == ["/srv/studies"]
        (path,) = rule["http"]["paths"]
        service = OBJECTS["Service", path["backend"]["service"]["name"]]["spec"]
        assert service["ports"][0]["name"] == path["backend"]["service"]["port"]["name"]
        labels = self.deployment["template"]["metadata"]["labels"]
        assert service["selector"] == self.deployment["selector"]["matchLabels"] == labels
        assert self.container["image"].endswith(f":{version()}")


@pytest.fixture
def wheel_file(tmp_path: Path) -> Path:
    """What a Space reads of a wheel; tests/install makes whole ones."""
    file = tmp_path / "stepscope-9.9.9-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        archive.write(ROOT / "requirements-app.lock", "stepscope/requirements-app.lock")
    return file


class TestSpace:
    def test_the_lock_file_is_where_a_wheel_has_it(self) -> None:
        assert wheel.FILES[space.LOCK] == space.LOCK == "requirements-app.lock"

    def test_the_folder_serves_the_snapshot(
        self, one_model: Path, wheel_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = tmp_path / "space"
        arguments = [str(one_model), "--out", str(out), "--space", str(wheel_file)]
        assert site.main(arguments) == 0, capsys.readouterr().err
        assert "hf upload OWNER/NAME" in capsys.readouterr().out
        (stage,) = dockerfile.stages((out / "Dockerfile").read_text()).values()
        files = [path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()]
        for _, sources, _ in stage.copies():
            assert all(dockerfile.chosen(source, files) for source in sources), sources
        front = yaml.safe_load((out / "README.md").read_text().split("---\n")[1])
        assert front["sdk"] == "docker" and str(front["app_port"]) == stage.last("EXPOSE")
        assert stage.last("USER") == "1000" and stage.base == STAGES["wheel"].base
        assert (out / "requirements-app.lock").read_bytes() == (
            ROOT / "requirements-app.lock"
        ).read_bytes()
        assert (out / wheel_file.name).read_bytes() == wheel_file.read_bytes()
        serve = stage.command("CMD")[-1].removeprefix("exec stepscope app ")
        assert f"--port {front['app_port']} " in serve and "${SPACE_HOST:-localhost}" in serve
        pattern = serve.split()[0].removeprefix("/srv/")
        (shown,) = snapshots.find_studies([str(path) for path in out.glob(pattern)])
        original = snapshots.locate(one_model)
        assert Path(snapshots.locate(shown).path).read_bytes() == Path(original.path).read_bytes()
        assert site.main(arguments) == 0, "writing again replaces it"

    @pytest.mark.parametrize(
        "title", [*HOSTILE, "---\nsdk: static\n---", "a: b # c", "\u2028\x85\x00", ""]
    )
    def test_a_title_is_only_a_title(self, title: str) -> None:
        text = space.readme(title)
        before, front, body = re.split(r"^---$\n?", text, flags=re.MULTILINE)
        settings = yaml.safe_load(front)
        assert not before and len(settings) == 7 and settings["sdk"] == "docker"
        assert settings["title"] in " ".join(title.split()) or not title.isprintable() or not title
        (heading,) = [line for line in body.splitlines() if line.startswith("# ")]
        assert not re.search(r"(?<!\\)(?:\\\\)*[<>*_`\[\]()&:|$~!#]", heading[2:]), heading

    @pytest.mark.parametrize(
        "name", ["other-1.0-py3-none-any.whl", "stepscope-1.0-py3-none-any.whl"]
    )
    def test_no_wheel_is_one_line(
        self, name: str, one_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / name).write_bytes(b"PK no archive")
        arguments = [
            str(one_model),
            "--out",
            str(tmp_path / "space"),
            "--space",
            str(tmp_path / name),
        ]
        assert site.main(arguments) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "make wheel" in line and name in line and not (tmp_path / "space").exists()

    def test_a_repository_is_not_replaced(
        self, one_model: Path, wheel_file: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "space"
        arguments = [str(one_model), "--out", str(out), "--space", str(wheel_file)]
        assert site.main(arguments) == 0
        (out / ".git").mkdir()
        assert site.main(arguments) == 2 and (out / ".git").is_dir()
