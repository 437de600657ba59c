"""Layouts of images that exist, each written small: which file belongs to which prompt and seed, and what is refused."""

from __future__ import annotations

import io
import json
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.errors import ModelError
from pipeline.models.pictures import PictureError, decode_picture
from pipeline.study.image_index import ImageIndex, images_hash, read_index
from pipeline.study.image_tables import TableImages
from pipeline.study.prompts import Prompt, key_of
from pipeline.study.spec import ModelSpec
from tests.support.imported import picture

TEXTS = ("a cat", "a dog on  a mat", "two birds")
SEEDS = (0, 1)


def prompts(sources: tuple[str, ...] = ("p.csv:1", "p.csv:2", "p.csv:3")) -> list[Prompt]:
    return [Prompt(key_of(t), t, s, "", {}, n) for n, (t, s) in enumerate(zip(TEXTS, sources, strict=True))]  # fmt: skip


def index_of(source: Path, layout: str = "auto", **keys: int) -> ImageIndex:
    return read_index(ModelSpec("m", "m", str(source), layout=layout, **keys))


def titles(index: ImageIndex, seeds: tuple[int, ...] = SEEDS, **keys: tuple[str, ...]) -> list[str]:
    """The image of every prompt and seed, in order; "" where there is none."""
    pictures = (index.find(prompt, seed, seeds) for prompt in prompts(**keys) for seed in seeds)
    return ["" if each is None else each.title for each in pictures]


def write(folder: Path, *names: str) -> None:
    """Images with these names; each has its own pixels."""
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(number, 16).save(path)


def encoded(number: int, side: int = 16) -> bytes:
    buffer = io.BytesIO()
    picture(number, side).save(buffer, "PNG")
    return buffer.getvalue()


def test_imagefolder_of_folders(tmp_path):
    """A list in each folder; csv and jsonl; prompts by text or by key; seeds where they are known."""
    write(tmp_path, "a/1.png", "a/2.png", "b/x.png", "b/y.png")
    lines = [{"file_name": f"{n}.png", "text": " a cat ", "seed": 2 - n} for n in (1, 2)]
    (tmp_path / "a" / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    rows = f"file_name,prompt_key\nx.png,{key_of(TEXTS[1])}\ny.png,{key_of(TEXTS[1])}\n"
    (tmp_path / "b" / "metadata.csv").write_text(rows)
    index = index_of(tmp_path)
    assert index.layout == "imagefolder"
    assert titles(index) == ["a/2.png", "a/1.png", "b/x.png", "b/y.png", "", ""]


def test_geneval(tmp_path):
    for number, text in enumerate(TEXTS):
        write(tmp_path / f"{number:05d}", "samples/0000.png", "samples/0001.png", "grid.png")
        line = json.dumps({"tag": "colors", "include": [], "prompt": text})
        (tmp_path / f"{number:05d}" / "metadata.jsonl").write_text(line + "\n")
    index = index_of(tmp_path)
    assert index.layout == "geneval"
    assert titles(index) == [f"{n:05d}/samples/{s:04d}.png" for n in range(3) for s in range(2)]
    assert index.ignored == tuple(f"{n:05d}/grid.png" for n in range(3))


def test_t2i_compbench(tmp_path):
    """Numbers run on over prompts, and a prompt's images are in the order of their numbers."""
    names = [f"samples/{t}_{n:06d}.png" for n, t in enumerate([*TEXTS, *TEXTS])]
    write(tmp_path, *reversed(names), "a cat-grid-00000.png")
    index = index_of(tmp_path)
    assert index.layout == "t2i-compbench"
    assert titles(index) == [names[n + 3 * s] for n in range(3) for s in range(2)]
    assert index.ignored == ("a cat-grid-00000.png",)


def test_dpg_bench_cuts_its_grids_row_by_row(tmp_path):
    tiles = np.arange(4, dtype=np.uint8).repeat(3).reshape(2, 2, 3) * 50
    for name in ("10", "11", "12"):
        Image.fromarray(tiles.repeat(8, 0).repeat(8, 1)).save(tmp_path / f"{name}.png")
    sources = ("10.txt", "11.txt", "12.txt")
    index = index_of(tmp_path, "dpg-bench")
    seeds = (7, 8, 9, 10)
    assert titles(index, seeds, sources=sources)[:4] == [f"10.png tile {n}" for n in range(4)]
    data = (tmp_path / "10.png").read_bytes()
    for number in range(4):
        tile = index.find(prompts(sources)[0], seeds[number], seeds)
        assert tile is not None
        pixels, _ = decode_picture(data, tile.tile, tile.tiles)
        assert pixels.shape == (8, 8, 3) and (pixels == 50 * number).all()
    whole = index_of(tmp_path, "dpg-bench", tiles=1)
    assert titles(whole, (0,), sources=sources) == ["10.png", "11.png", "12.png"]
    with pytest.raises(PictureError, match="no grid of 9 equal images"):
        decode_picture(data, 0, 9)


def test_sd_scripts_samples(tmp_path):
    """Epoch or step, prompt number, time and seed are in the name; the last checkpoint unless one is asked for."""
    stamp = "20260101120000"
    names = [f"sample/out_e{e:06d}_{n:02d}_{stamp}_{s}.png" for e in (1, 2) for n in range(3) for s in SEEDS]  # fmt: skip
    write(tmp_path, *names)
    index = index_of(tmp_path)
    assert index.layout == "sd-scripts" and index.numbered
    assert titles(index) == names[6:]
    assert titles(index_of(tmp_path, checkpoint=1)) == names[:6]
    with pytest.raises(ModelError, match=r"no samples of checkpoint = 3 \(found: 1, 2\)"):
        index_of(tmp_path, checkpoint=3)


def test_sd_scripts_samples_by_step_without_a_name_or_seed(tmp_path):
    write(tmp_path, "000500_00_20260101120000.png", "000500_01_20260101120001.png")
    assert titles(index_of(tmp_path), (5,)) == [
        "000500_00_20260101120000.png", "000500_01_20260101120001.png", ""
    ]  # fmt: skip


def test_ai_toolkit_samples(tmp_path):
    """Of a step sampled twice the later image counts, and the earlier is named as not matched."""
    names = [f"samples/{t}__{s:09d}_{n}.jpg" for t, s in ((1700000000000, 0), (1700000001000, 250), (1700000002000, 250)) for n in range(3)]  # fmt: skip
    write(tmp_path, *names)
    index = index_of(tmp_path)
    assert index.layout == "ai-toolkit"
    assert titles(index, (0,)) == names[6:]
    assert titles(index_of(tmp_path, checkpoint=0), (0,)) == names[:3]
    assert index.ignored == tuple(names[:6])


def table(count: int, **columns: list) -> pa.Table:
    images = [{"bytes": encoded(n), "path": None} for n in range(count)]
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    return pa.table({"image": pa.array(images, kind), **columns})


def test_parquet_of_hugging_face(tmp_path):
    """Files in order, rows in order; bytes by row, forwards, backwards and over row groups."""
    texts = [TEXTS[n // 2] for n in range(6)]
    (tmp_path / "data").mkdir()
    pq.write_table(table(6, text=texts), tmp_path / "data" / "train-00000-of-00001.parquet", row_group_size=2)  # fmt: skip
    name = "data/train-00000-of-00001.parquet"
    index = index_of(tmp_path)
    assert index.layout == "parquet"
    assert titles(index) == [f"{name} row {n}" for n in range(6)]
    tables = TableImages(tmp_path)
    for row in (0, 1, 5, 2, 3, 3, 0):
        assert tables.read(name, row) == encoded(row)
    with pytest.raises(OSError, match="cannot be read as Parquet"):
        tables.read(name, 6)
    tables.close()


def test_parquet_of_strangers(tmp_path):
    kind = pa.struct({"path": pa.string()})
    for name, content, problem in (
        ("no-bytes", {"image": pa.array([{"path": "a.png"}], kind), "text": ["a cat"]}, "no column of images"),
        ("two", {"a": [b"1"], "b": [b"2"], "text": ["a cat"]}, "more than one column of images"),
        ("no-text", {"image": [b"1"], "label": [3]}, "has no prompt or text or caption"),
        ("numbers", {"image": [b"1"], "text": [3]}, "text = 3 is not text"),
    ):  # fmt: skip
        pq.write_table(pa.table(content), tmp_path / f"{name}.parquet")
        with pytest.raises(ModelError, match=problem):
            index_of(tmp_path / f"{name}.parquet")
    (tmp_path / "cut.parquet").write_bytes(b"PAR1" + b"\0" * 100)
    with pytest.raises(ModelError, match="cannot be read as Parquet"):
        index_of(tmp_path / "cut.parquet")


def test_a_parquet_bomb_of_texts_is_refused(tmp_path):
    """One text of 1 MB, stored once and repeated 50,000 times."""
    words = pa.DictionaryArray.from_arrays(pa.array(np.zeros(50_000, np.int32)), ["x" * 2**20])
    images = pa.array([b""] * 50_000, pa.binary())
    pq.write_table(pa.table({"image": images, "text": words}), tmp_path / "bomb.parquet")
    assert (tmp_path / "bomb.parquet").stat().st_size < 2**21
    with pytest.raises(ModelError, match="repeats values"):
        index_of(tmp_path / "bomb.parquet")


def test_an_image_that_is_stored_once_and_repeated_is_read_one_row_at_a_time(tmp_path):
    """200 rows of the same 4 MB: written out they would be 800 MB."""
    one = np.random.default_rng(0).bytes(2**22)
    images = pa.DictionaryArray.from_arrays(pa.array(np.zeros(200, np.int32)), pa.array([one]))
    content = pa.table({"image": images, "text": ["a cat"] * 200})
    pq.write_table(content, tmp_path / "same.parquet", store_schema=False)
    assert (tmp_path / "same.parquet").stat().st_size < 2**23
    tables = TableImages(tmp_path)
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    for row in range(200):
        assert tables.read("same.parquet", row) == one
        assert pa.total_allocated_bytes() - before < 2**26
    assert tracemalloc.get_traced_memory()[1] < 2**26
    tracemalloc.stop()
    tables.close()


def test_unknown_layouts_say_what_to_do(tmp_path):
    write(tmp_path, "1.png", "2.png")
    with pytest.raises(ModelError, match=r"is of no known layout. Add metadata.jsonl"):
        index_of(tmp_path)
    (tmp_path / "list.txt").touch()
    with pytest.raises(ModelError, match="is not a list of images"):
        index_of(tmp_path / "list.txt")


def test_the_hash_is_of_the_images_and_what_they_are_matched_by(tmp_path):
    write(tmp_path, "1.png", "2.png")
    spec = ModelSpec("m", "m", str(tmp_path / "list.csv"), layout="csv")
    lines = "path,prompt\n1.png,a cat\n2.png,two birds\n"
    (tmp_path / "list.csv").write_text(lines)
    first = images_hash(spec)
    (tmp_path / "list.csv").write_text(lines + "\n")
    assert images_hash(spec) == first
    (tmp_path / "list.csv").write_text(lines.replace("a cat", "a dog"))
    assert images_hash(spec) != first
    (tmp_path / "list.csv").write_text(lines)
    picture(9, 16).save(tmp_path / "2.png")
    assert images_hash(spec) != first
