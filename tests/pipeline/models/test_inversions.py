"""Embeddings of textual inversion: the images are diffusers' own, the token is a word with maps, what does not fit is one line."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from pipeline.diffusion.generate import generate
from pipeline.errors import ModelError, StudyError
from pipeline.models.loading import check_tensors, open_pipeline
from pipeline.models.words import clip_layout
from pipeline.study.plan import Plan, find_revisions
from pipeline.study.reading import parse_study
from pipeline.study.spec import EmbeddingSpec, ModelSpec, model_spec, study_spec
from tests.support import families
from tests.support.synthetic import small_study

pytestmark = pytest.mark.usefixtures("root")
CPU = torch.device("cpu")
WIDTH = 16  # of the tiny text encoders
TOKEN = "<toy>"


def vectors(count: int, seed: int = 0, width: int = WIDTH) -> torch.Tensor:
    return 3 * torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def one(tmp_path) -> Path:
    save_file({"anything": vectors(1)}, tmp_path / "one.safetensors")
    return tmp_path / "one.safetensors"


@pytest.fixture
def three(tmp_path) -> Path:
    folder = tmp_path / "three"
    folder.mkdir()
    save_file({TOKEN: vectors(3)}, folder / "learned_embeds.safetensors")
    return folder


def spec(*sources: Path, family: str = "sd-epsilon", token: str = TOKEN) -> ModelSpec:
    names = [token, *(f"<other-{i}>" for i in range(1, len(sources)))]
    embeddings = tuple(EmbeddingSpec(str(s), n) for s, n in zip(sources, names, strict=True))
    return replace(families.spec(family), embeddings=embeddings)


def prompts(text: str):
    return tuple(replace(prompt, text=text) for prompt in families.prompts_of(1))


def images(pipeline, model: ModelSpec, text: str) -> torch.Tensor:
    return generate(pipeline, model, prompts(text), 0, {})


@pytest.mark.parametrize("kind", ["one", "three"])
def test_images_are_those_of_diffusers_own_loader(kind, request):
    source = request.getfixturevalue(kind)
    model, text = spec(source), f"a {TOKEN} on a red dog"
    check_tensors(model)
    ours = images(open_pipeline(model, CPU), model, text)
    plain = open_pipeline(families.spec("sd-epsilon"), CPU)
    before = images(plain, model, text)
    file = source if source.is_file() else source / "learned_embeds.safetensors"
    plain.load_textual_inversion(str(file), token=TOKEN)
    assert torch.equal(ours, images(plain, model, text))
    assert not torch.equal(ours, before), "the token means nothing"
    without = "a dog on a red dog"
    unchanged = images(open_pipeline(families.spec("sd-epsilon"), CPU), model, without)
    assert torch.equal(images(open_pipeline(model, CPU), model, without), unchanged)


def test_a_token_of_several_vectors_is_one_word(three, one):
    pipeline = open_pipeline(spec(three, one), CPU)
    text = f"a {TOKEN}, near a <other-1>  dog"
    length = pipeline.tokenizer.model_max_length
    layout = clip_layout(pipeline, text, length)
    ids = pipeline.tokenizer(pipeline.maybe_convert_prompt(text, pipeline.tokenizer)).input_ids
    new = set(pipeline.tokenizer.added_tokens_encoder.values())
    of_word = [int(w) for w, i in zip(layout, ids, strict=False) if i in new and w >= 0]
    assert of_word == [1, 1, 1, 4], "three positions of the first token, one of the second"
    assert list(np.unique(layout)) == [-1, 0, 1, 2, 3, 4, 5]


def test_the_words_of_a_prompt_without_it_are_where_they_were(three):
    plain, other = open_pipeline(families.spec("sd-epsilon"), CPU), open_pipeline(spec(three), CPU)
    for text in ("a dog near  a cat", "", "a dog, a dog."):
        assert np.array_equal(clip_layout(plain, text, 16), clip_layout(other, text, 16))


def test_a_token_has_maps_of_attention(three):
    model = spec(three)
    text = f"a {TOKEN} near a dog"
    seen = families.watch("sd-epsilon", open_pipeline(model, CPU), model, prompts(text))
    assert torch.equal(seen.plain, seen.watched)
    rows = seen.columns[0]["words"]
    whole = {
        r["word"]: r["mass"]
        for r in rows
        if r["layer_group"] == "all" and r["source"] == "attention"
    }
    assert TOKEN in whole and all(mass > 0 for mass in whole[TOKEN])
    assert any(row["word"] == TOKEN for row in seen.columns[0]["explanations"])


def test_xl_takes_two_tensors(tmp_path):
    file = tmp_path / "xl.safetensors"
    save_file({"clip_l": vectors(2), "clip_g": vectors(2, 1, 24)}, file)
    model = spec(file, family="sdxl")
    check_tensors(model)
    pipeline = open_pipeline(model, CPU)
    for end, expected in (("", vectors(2)), ("_2", vectors(2, 1, 24))):
        number = getattr(pipeline, f"tokenizer{end}").convert_tokens_to_ids(f"{TOKEN}_1")
        weight = getattr(pipeline, f"text_encoder{end}").get_input_embeddings().weight
        assert torch.equal(weight[number], expected[1])
    assert images(pipeline, model, f"a {TOKEN}").isfinite().all()


HARM = {
    "another width": ({"x": torch.zeros(2, 8)}, "and text_encoder takes 1 to 75 vectors of 16"),
    "no vectors": ({"x": torch.zeros(0, WIDTH)}, "takes 1 to 75 vectors of 16"),
    "too many": ({"x": torch.zeros(76, WIDTH)}, "takes 1 to 75 vectors of 16"),
    "a matrix too many": ({"x": torch.zeros(1, 1, WIDTH)}, "takes 1 to 75 vectors of 16"),
    "two tensors": ({"a": vectors(1), "b": vectors(1)}, "an embedding for this model is one tensor"),
    "no tensor": ({}, "an embedding for this model is one tensor"),
}  # fmt: skip


@pytest.mark.parametrize("name", HARM)
def test_an_embedding_that_does_not_fit_is_one_line(name, one):
    tensors, words = HARM[name]
    save_file(tensors, one)
    for look in (check_tensors, lambda model: open_pipeline(model, CPU)):
        with pytest.raises(ModelError, match=words) as caught:
            look(spec(one))
        assert "\n" not in str(caught.value)


def test_other_refusals_are_one_line(one, three, root):
    with pytest.raises(ModelError, match="token 'dog' is a word of the tokenizer already"):
        check_tensors(spec(one, token="dog"))
    two = replace(spec(three), embeddings=(EmbeddingSpec(str(three), TOKEN), EmbeddingSpec(str(one), f"{TOKEN}_2")))  # fmt: skip
    with pytest.raises(ModelError, match=f"token '{TOKEN}_2' is a word of the tokenizer already"):
        check_tensors(two)
    with pytest.raises(ModelError, match="FluxPipeline takes no embeddings of textual inversion"):
        check_tensors(spec(one, family="flux-dev"))
    with pytest.raises(ModelError, match="an embedding for this model is two tensors, clip_l and clip_g"):  # fmt: skip
        check_tensors(spec(one, family="sdxl"))
    save_file({"x": torch.full((1, WIDTH), torch.nan)}, one)
    with pytest.raises(ModelError, match="no finite numbers"):
        open_pipeline(spec(one), CPU)
    one.write_bytes(b"\x80\x04cos\nsystem\n")
    with pytest.raises(ModelError, match="not a whole safetensors file"):
        check_tensors(spec(one))


def read(**model: object):
    values = study_spec(small_study())
    values["model"][0] |= model
    return parse_study(values, Path("study.toml"))


@pytest.mark.parametrize(
    ("embeddings", "words"),
    [
        ([{"source": "gone.safetensors", "token": "<a>"}], "'gone.safetensors' does not exist"),
        ([{"source": "README.md", "token": "<a>"}], "README.md: is no safetensors file"),
        ([{"source": "docs", "token": "<a>"}], "docs: holds no learned_embeds.safetensors"),
        ([{"source": "README.md"}], "token"),
        ([{"source": "README.md", "token": "a b"}], "'a b' is no token"),
        ([{"source": "README.md", "token": "<a>", "weight": 1.0}], "weight"),
        ([], "embeddings"),
    ],
)
def test_an_entry_that_means_nothing_is_one_line(embeddings, words):
    with pytest.raises(StudyError, match=words) as caught:
        read(embeddings=embeddings)
    assert "\n" not in str(caught.value)


def test_pickles_links_and_doubles_are_refused(one, three, tmp_path):
    (tmp_path / "a.pt").write_bytes(b"")
    with pytest.raises(StudyError, match="pickle, never loaded"):
        read(embeddings=[{"source": str(tmp_path / "a.pt"), "token": "<a>"}])
    with pytest.raises(StudyError, match="twice"):
        read(embeddings=[{"source": str(s), "token": "<a>"} for s in (one, three)])
    (three / "learned_embeds.safetensors").unlink()
    (three / "learned_embeds.safetensors").symlink_to(one)
    with pytest.raises(StudyError, match="is a link out of the embedding's folder"):
        read(embeddings=[{"source": str(three), "token": "<a>"}])


def test_file_and_token_are_part_of_what_a_model_is_and_the_place_is_not(one, tmp_path):
    def ids(source: Path, token: str) -> list[str]:
        study = read(embeddings=[{"source": str(source), "token": token}])
        assert model_spec(study.models[0])["embeddings"] == [
            {"source": str(source), "token": token}
        ]
        return Plan(study, find_revisions(study), (), None)._model(study.models[0])["embeddings"]

    assert "embeddings" not in model_spec(small_study().models[0]), (
        "old studies keep their spelling"
    )
    before = ids(one, "<a>")
    moved = one.rename(tmp_path / "moved.safetensors")
    assert ids(moved, "<a>") == before
    assert ids(moved, "<b>") != before
    save_file({"anything": vectors(2)}, moved)
    assert ids(moved, "<a>") != before
    assert json.dumps(before)
