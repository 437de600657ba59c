"""Model folders and Parquet files that mean harm: refused in one line, nothing unpickled, nothing read elsewhere."""

import hashlib
import io
import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.__main__ import main
from pipeline.database.publish import publish
from pipeline.engine import run
from pipeline.errors import ModelError, PromptError, StoreError
from pipeline.models.loading import check_model
from pipeline.models.scorer_files import check_scorer_folder
from pipeline.results.folder import Results
from pipeline.results.record import load_plan
from pipeline.results.rows import STORED
from pipeline.results.shards import parse_shard
from pipeline.results.verify import mark_damaged, verify
from pipeline.study.plan import find_revisions
from pipeline.study.prompts import read_prompts
from pipeline.study.spec import ModelSpec, PromptSource, ScorerSpec
from tests.support.fake_worker import FakeWorker
from tests.support.hostile import watched
from tests.support.synthetic import plan_of, small_study


class Evil:
    """Writes a file when it is unpickled."""

    def __reduce__(self):
        return (os.system, ("touch pwned",))


INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "scheduler": ["diffusers", "DDIMScheduler"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "safety_checker": [None, None],
}


def weights(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


GOOD = weights({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, b"\0" * 4)


@pytest.fixture
def folder(tmp_path):
    """A model folder in which everything that can be known without loading is in order."""
    model = tmp_path / "model"
    for name in ("unet", "text_encoder"):
        (model / name).mkdir(parents=True)
        (model / name / "config.json").write_text("{}")
        (model / name / "model.safetensors").write_bytes(GOOD)
    (model / "scheduler").mkdir()
    (model / "scheduler" / "scheduler_config.json").write_text("{}")
    (model / "model_index.json").write_text(json.dumps(INDEX))
    return model


def refused(folder, *words):
    with watched(folder.parent) as harm, pytest.raises(ModelError) as caught:
        check_model(ModelSpec("m", "m", str(folder)))
    said = str(caught.value)
    assert "\n" not in said and len(said) < 1000, said
    for word in words:
        assert word in said, said
    assert harm == [] and not Path("pwned").exists()


def test_the_folder_itself_is_accepted(folder):
    check_model(ModelSpec("m", "m", str(folder)))


@pytest.mark.parametrize("name", ["diffusion_pytorch_model.bin", "model.pt", "model.ckpt", "model.pkl", "pytorch_model.bin"])  # fmt: skip
def test_a_pickle_is_never_opened(folder, name):
    (folder / "unet" / "model.safetensors").unlink()
    (folder / "unet" / name).write_bytes(pickle.dumps(Evil()))
    refused(folder, name, "pickle, never loaded")


def test_a_pickle_named_as_safetensors(folder):
    (folder / "unet" / "model.safetensors").write_bytes(pickle.dumps(Evil()))
    refused(folder, "not a whole safetensors file")


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\0" * 7, b"\0" * 8, GOOD[:-1], GOOD[:20], GOOD + b"x", weights({}, length=2**63), weights({}, length=2**64 - 1),
        weights({}, length=10**8), weights(b"[" * 90_000), weights(b"[]"), weights(b"null"), weights(b"\xff\xfe"), weights(b"{" * 50),
        weights({"w": 1}), weights({"w": {}}), weights({"w": {"data_offsets": []}}), weights({"w": {"data_offsets": [0]}}),
        weights({"w": {"data_offsets": [0, "x"]}}), weights(b'{"w": {"data_offsets": [0, Infinity]}}'), weights(b'{"w": {"data_offsets": [0, NaN]}}'),
        weights({"w": {"data_offsets": [0, 2**70]}}), weights({"w": {"data_offsets": [0, -9]}}), weights(b'{"w": {"data_offsets": [0, ' + b"9" * 5000 + b"]}}"),
    ],
)  # fmt: skip
def test_headers_that_mean_harm(folder, data):
    (folder / "unet" / "model.safetensors").write_bytes(data)
    refused(folder, "model.safetensors")


@pytest.mark.parametrize("component", ["unet", "text_encoder"])
@pytest.mark.parametrize(
    "part",
    ["../../etc/passwd", "/etc/passwd", "../../../secret.safetensors", "..\\x.safetensors", "a/b.safetensors", "x.bin", "model.pt", "", ".", "none.safetensors"],
)  # fmt: skip
def test_an_index_that_leads_out_of_the_folder(folder, component, part):
    (folder.parent.parent / "secret.safetensors").write_bytes(GOOD)
    file = folder / component / "model.safetensors.index.json"
    file.write_text(json.dumps({"metadata": {}, "weight_map": {"w": part}}))
    refused(folder, "index.json")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weight_map": []}', "[" * 90_000, '{"weight_map": {"w": 1}}', "9" * 5000])  # fmt: skip
def test_an_index_of_another_shape(folder, text):
    (folder / "unet" / "model.safetensors.index.json").write_text(text)
    refused(folder, "index.json")


@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("unet/config.json", "/etc/passwd"), ("unet/model.safetensors", "/etc/passwd"), ("unet/extra.txt", "../../secret"),
        ("tokenizer", "/etc"), ("unet/loop", "loop"), ("unet/deep", "/proc/self/root"), ("model_index.json", "/etc/hostname"),
        ("unet/zero", "/dev/zero"),
    ],
)  # fmt: skip
def test_links_out_of_the_folder(folder, link, target):
    (folder.parent / "secret").write_text("secret")
    path = folder / link
    path.unlink(missing_ok=True)
    path.symlink_to(target)
    refused(folder, link if link != "model_index.json" else "model_index")


def test_a_pipe_in_the_folder(folder):
    os.mkfifo(folder / "unet" / "notes.txt")
    refused(folder, "neither a file nor a folder")


def test_the_hubs_own_links_are_followed(folder):
    """Its cache has snapshots/REVISION/... with links to blobs/HASH."""
    cache = folder.parent / "models--owner--name"
    (cache / "blobs").mkdir(parents=True)
    snapshot = cache / "snapshots" / "abc"
    shutil.copytree(folder, snapshot)
    file = snapshot / "unet" / "model.safetensors"
    file.rename(cache / "blobs" / "1234")
    file.symlink_to("../../../blobs/1234")
    check_model(ModelSpec("m", "m", str(snapshot)))
    file.unlink()
    file.symlink_to("../../../../secret.safetensors")
    (folder.parent / "secret.safetensors").write_bytes(GOOD)
    refused(snapshot, "link out of the model's folder")


@pytest.mark.parametrize(
    "change",
    [
        {"_class_name": "utils"}, {"_class_name": "DiffusionPipeline.__init__"}, {"_class_name": "__builtins__"}, {"_class_name": "UNet2DModel"},
        {"_class_name": ["pipeline.py", "Evil"]}, {"_class_name": None}, {"_class_name": 3}, {"_class_name": "x" * 10_000},
        {"unet": []}, {"unet": ["diffusers"]}, {"unet": ["diffusers", None]}, {"unet": ["diffusers", {"a": 1}]}, {"unet": [["x"], "y"]},
        {"unet": ["os", "system"]}, {"unet": ["pipeline_evil", "Evil"]}, {"../../etc": ["diffusers", "UNet2DModel"]},
        {"unet": ["kandinsky", "system"]}, {"unet": ["stable_diffusion", "StableDiffusionSafetyChecker"]},
        {"unet": ["pipeline_utils", "importlib"]}, {"unet": ["__builtins__", "eval"]}, {"unet": ["kandinsky", "__loader__"]},
        {"/etc": ["diffusers", "UNet2DModel"]}, {"": ["diffusers", "UNet2DModel"]}, {"a\nb": ["diffusers", "UNet2DModel"]},
    ],
)  # fmt: skip
def test_indexes_that_ask_for_other_code(folder, change):
    (folder / "model_index.json").write_text(json.dumps(INDEX | change))
    refused(folder, "model m: ")


@pytest.mark.parametrize(
    ("file", "settings", "said"),
    [
        ("processor_config.json", {"auto_map": {"AutoProcessor": "evil.Evil"}}, "auto_map"),
        ("processor_config.json", {"image_processor": {"auto_map": {"a": "evil.Evil"}}}, "auto_map"),
        ("processor_config.json", {"image_processor": {"loader": {"a": 1}}}, "is not a key that its class knows"),
        ("processor_config.json", {"image_processor": {"size": {"longest_edge": 10**12}}}, "longest_edge"),
        ("processor_config.json", {"tokenizer": {"path": "/etc/passwd"}}, "passwd"),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": "evil.Evil"}}, "auto_map"),
        ("tokenizer_config.json", {"vocab_file": "elsewhere"}, "reads what lies outside the model's folder"),
        ("tokenizer.json", {"padding": {"strategy": {"Fixed": 10**12}}}, "Fixed"),
    ],
)  # fmt: skip
def test_processors_that_ask_for_more_than_data(folder, file, settings, said):
    """A processor of texts and images holds a tokenizer and settings of its own."""
    index = INDEX | {"processor": ["transformers", "Qwen3VLProcessor"]}
    (folder / "model_index.json").write_text(json.dumps(index))
    (folder / "processor").mkdir()
    (folder / "processor" / file).write_text(json.dumps(settings))
    refused(folder, said)


def test_guiders_that_ask_for_code_are_refused(folder):
    index = INDEX | {"guider": ["diffusers", "AdaptiveProjectedMixGuidance"]}
    (folder / "model_index.json").write_text(json.dumps(index))
    (folder / "guider").mkdir()
    (folder / "guider" / "guider_config.json").write_text(json.dumps({"auto_map": "evil.Evil"}))
    refused(folder, "auto_map")


@pytest.mark.parametrize("text", ["", "[]", "[" * 90_000, '{"a":' * 50_000, "9" * 5000, "\x00", '{"_class_name": "\\ud800"}'])  # fmt: skip
def test_an_index_that_is_no_index(folder, text):
    (folder / "model_index.json").write_text(text)
    refused(folder, "model m: ")


def test_a_scorer_is_checked_as_a_model_is(tmp_path):
    folder = tmp_path / "scorer"
    folder.mkdir()
    file, config = folder / "open_clip_model.safetensors", folder / "open_clip_config.json"
    (folder / "open_clip_pytorch_model.bin").write_bytes(pickle.dumps(Evil()))
    steps = [
        (lambda: None, "Only safetensors are loaded"),
        (lambda: file.write_bytes(GOOD), "open_clip_config.json"),
        (lambda: config.write_text("[" * 90_000), "open_clip_config.json"),
        (lambda: config.write_text("{}") and file.write_bytes(GOOD[:-2]), "truncated"),
        (lambda: file.unlink() or file.symlink_to("/etc/passwd"), "link out"),
    ]
    for act, words in steps:
        act()
        with pytest.raises(ModelError, match=words):
            check_scorer_folder(ScorerSpec(str(folder)))


@pytest.mark.parametrize("source", ["/", "/proc", "/etc"])
def test_a_folder_that_is_no_model_is_refused_before_it_is_hashed(source, tmp_path, capsys):
    text = Path("data/studies/small.toml").read_text().replace("data/models/scenes-unet", source)
    (tmp_path / "study.toml").write_text(text)
    assert main(["run", str(tmp_path / "study.toml"), "--plan"]) == 2
    said = capsys.readouterr().err
    assert "model_index.json" in said and said.count("\n") == 1


# Parquet that is small on the disk and endless in memory.


def packed(table, **options):
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", **options)
    return buffer.getvalue()


def empty(rows):
    """So many failed samples, in a file of some kilobytes."""
    columns = {f.name: pa.nulls(rows, f.type) for f in STORED}
    return pa.table(columns, STORED)


def repeated(rows, size):
    """One image, stored once, that stands in every row."""
    image = pa.DictionaryArray.from_arrays(np.zeros(rows, np.int32), pa.array([b"x" * size], pa.binary()))  # fmt: skip
    table = empty(rows)
    return table.set_column(table.schema.get_field_index("image"), "image", image)


def repeated_frames(rows, each, size):
    images = pa.DictionaryArray.from_arrays(np.zeros(rows * each, np.int32), pa.array([b"x" * size], pa.binary()))  # fmt: skip
    records = pa.StructArray.from_arrays([pa.array(np.zeros(rows * each, np.int32)), images], ["step", "image"])  # fmt: skip
    lists = pa.ListArray.from_arrays(pa.array(np.arange(rows + 1) * each, pa.int32()), records)
    table = empty(rows)
    return table.set_column(table.schema.get_field_index("frames"), "frames", lists)


BOMBS = {
    "rows": lambda: packed(empty(200_000)),
    "one image in every row": lambda: packed(repeated(60_000, 1_000_000)),
    "one image in every frame": lambda: packed(repeated_frames(10, 5_000, 1_000_000)),
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished") / "r"
    model = plan_of(small_study(models=1, prompts=8, seeds=1, steps=3))
    run.run(model, folder, "cpu", FakeWorker)
    publish(folder)
    return folder


LIMITED = """
import resource, sys
from pathlib import Path
sys.path[:0] = ["."]
import pipeline.database.publish, pipeline.results.merge, pipeline.results.verify
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 8 * 2**30,) * 2)  # Arrow reserves far more than it uses
folder = Path(sys.argv[1])
for act in (
    lambda: pipeline.results.verify.verify(folder),
    lambda: pipeline.results.merge.merge([folder], folder.parent / "merged").conflicts,
    lambda: pipeline.database.publish.publish(folder).damaged,
):
    found = act()
    assert len(found) == 1, found
    print("left out:", *found)
status = Path("/proc/self/status").read_text()  # ru_maxrss counts what the parent held, too
peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
assert peak < 1024, f"{peak} MB"
"""


@pytest.mark.long
@pytest.mark.parametrize("kind", BOMBS)
def test_a_bomb_is_left_out_in_a_gigabyte(finished, tmp_path, kind):
    """Its ledger entry vouches for it, as that of a folder from elsewhere may."""
    data = BOMBS[kind]()
    assert len(data) < 2**20
    folder = shutil.copytree(finished, tmp_path / "r")
    results = Results(folder)
    entry = next(iter(results.read_ledger().entries.values()))
    at = results.store.write(entry.unit_id, data)
    sha256 = hashlib.sha256(data).hexdigest()
    results.append([replace(entry, bytes=len(data), sha256=sha256, mtime_ns=at.changed_ns)])
    done = subprocess.run([sys.executable, "-c", LIMITED, str(folder)], capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("left out: ") >= 3
    model = plan_of(small_study(models=1, prompts=8, seeds=1, steps=3))
    assert mark_damaged(folder) in (0, 1)  # publish has marked it already
    assert run.run(model, folder, "cpu", FakeWorker).work_units == 1 and verify(folder) == []


def test_an_honest_shard_of_equal_images_is_no_bomb():
    """1,000 times the same image of 100 kB is 100 MB: read."""
    table = parse_shard(packed(repeated(1_000, 100_000)), "shard")
    assert len(table) == 1_000


def test_a_bomb_of_prompts_is_refused(tmp_path):
    path = tmp_path / "a.parquet"
    text = pa.DictionaryArray.from_arrays(np.zeros(100_000, np.int32), pa.array(["x" * 2_000_000]))
    pq.write_table(pa.table({"text": text}), path, compression="zstd")
    assert path.stat().st_size < 2**20
    with pytest.raises(PromptError, match="repeats values until"):
        read_prompts(PromptSource(path, "parquet", {}))


def test_a_bomb_in_the_record_of_prompts_is_refused(finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "r")
    text = pa.DictionaryArray.from_arrays(np.zeros(100_000, np.int32), pa.array(["x" * 2_000_000]))
    columns = {name: pa.array([""] * 100_000) for name in ("prompt_key", "source", "category", "roles")}  # fmt: skip
    pq.write_table(pa.table({"text": text, **columns}), folder / "prompts.parquet")
    with pytest.raises(StoreError, match="repeats values until"):
        load_plan(Results(folder))


def test_revisions_of_a_folder_with_a_pipe_do_not_wait(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "open_clip_model.safetensors").write_bytes(GOOD)
    study = replace(small_study(models=1), scorer=ScorerSpec(str(tmp_path)))
    assert find_revisions(study).scorer.startswith("sha256:")
