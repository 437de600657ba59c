"""Inception's weights: torchvision's own network, from a file that is checked before it is loaded."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from torchvision.models import inception_v3
from torchvision.models.feature_extraction import create_feature_extractor
from torchvision.transforms.functional import normalize

from pipeline.errors import ModelError
from pipeline.models.inception import Inception, check_inception
from pipeline.study.plan import plan_study
from pipeline.study.reading import load_study

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture(scope="module")
def whole():
    """torchvision's network with random weights, as its weights' file has it: with the classes and the side branch."""
    torch.manual_seed(0)
    return inception_v3(weights=None, init_weights=False, transform_input=True).eval()


@pytest.fixture(scope="module")
def file(whole, tmp_path_factory):
    path = tmp_path_factory.mktemp("inception") / "inception_v3.safetensors"
    state = {n: t for n, t in whole.state_dict().items() if not n.endswith("num_batches_tracked")}
    save_file(state, path)
    return path


@pytest.mark.filterwarnings("ignore:NOTE. The nodes obtained by tracing:UserWarning")
def test_features_are_those_before_the_classes_of_torchvisions_own(whole, file):
    images = torch.rand(1, 3, 299, 299, generator=torch.Generator().manual_seed(1))
    features = Inception(file)(images)
    tap = create_feature_extractor(whole, {"flatten": "features"})
    with torch.no_grad():
        expected = tap(normalize(images, MEAN, STD))["features"]
    assert features.shape == (1, 2048)
    assert torch.allclose(features, expected, atol=1e-4)


def test_other_sizes_are_fitted(file):
    small = torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(1))
    assert torch.isfinite(Inception(file)(small)).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("Mixed_7c.branch1x1.conv.weight"), "1 missing"),
        (lambda state: state.update(more=torch.zeros(1)), "1 unexpected"),
        (lambda state: state.update({"Conv2d_1a_3x3.conv.weight": torch.zeros(1)}), "of another shape"),
    ],
)  # fmt: skip
def test_weights_that_are_not_inceptions_are_named(file, tmp_path, change, message):
    state = load_file(file)
    change(state)
    save_file(state, tmp_path / "other.safetensors")
    with pytest.raises(ModelError, match=message):
        check_inception(tmp_path / "other.safetensors")


def test_a_pickle_is_refused_unread(tmp_path):
    path = tmp_path / "inception_v3_google-0cc3c7bd.pth"
    path.write_bytes(b"never opened")
    with pytest.raises(ModelError, match="no .safetensors file.*docs/paper.md"):
        check_inception(path)


def study(tmp_path, extra):
    text = (
        'name = "s"\nseeds = [0]\n[prompts]\npath = "data/prompts/scenes.csv"\nlimit = 1\n'
        '[scorer]\nsource = "data/models/scenes-clip"\n[concepts]\npath = "data/concepts/scenes.toml"\n'
        f'[measures]\n{extra}\n[[model]]\nname = "m"\nsource = "data/models/scenes-unet"\n'
    )
    (tmp_path / "s.toml").write_text(text)
    return load_study(tmp_path / "s.toml")


def test_the_weights_and_not_their_place_are_part_of_the_id(tmp_path):
    ids = {}
    for name, content in (("a", b"one"), ("b", b"one"), ("c", b"two")):
        (tmp_path / f"{name}.safetensors").write_bytes(content)
        read = study(tmp_path, f'inception = "{tmp_path}/{name}.safetensors"')
        ids[name] = [work_unit.unit_id for work_unit in plan_study(read)]
    assert ids["a"] == ids["b"] != ids["c"]
