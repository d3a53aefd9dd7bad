import hashlib
import json
import pickle
import shutil
from pathlib import Path

import attrs
import pytest
import torch
from safetensors.torch import load_file, save_file

from gtr_batch.errors import ModelArtefactError
from gtr_batch.stage.artefact import load_artefact, read_version, verify, write_artefact
from gtr_batch.stage.network import GTRNet
from tests.unit.stage.small import small_manifest


@pytest.fixture
def folder(artefact_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(artefact_folder, tmp_path / "copy"))


def edit_manifest(folder: Path, change) -> None:
    value = json.loads((folder / "manifest.json").read_text())
    change(value)
    (folder / "manifest.json").write_text(json.dumps(value))


def edit_weights(folder: Path, change) -> None:
    """Change the tensors and make the digest right again, so that only the tensors are wrong."""
    tensors = load_file(folder / "weights.safetensors")
    change(tensors)
    save_file(tensors, folder / "weights.safetensors")
    digest = hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()
    edit_manifest(folder, lambda m: m.update(weights_sha256=digest))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 0.0), (torch.float16, 5e-3)])
def test_what_is_written_is_what_is_read(tmp_path: Path, small_network: GTRNet, dtype, tolerance: float):
    version = write_artefact(tmp_path / "a", small_network, small_manifest(), dtype)

    read = load_artefact(tmp_path / "a")

    for name, weight in small_network.state_dict().items():
        assert (read.network.state_dict()[name] - weight).abs().max() <= tolerance, name
    x = torch.randn(2, 3, 64, 64)
    assert (read.network(x) - small_network(x)).abs().max() <= tolerance + 1e-5  # one of them is fused
    assert attrs.evolve(read.manifest, weights_sha256="") == small_manifest()
    assert read.version == version == read_version(tmp_path / "a") == verify(tmp_path / "a")
    assert not read.network.training
    assert {p.dtype for p in read.network.parameters()} == {torch.float32}


def test_the_version_is_the_same_for_the_same_model_and_another_for_any_other(tmp_path: Path, small_network: GTRNet):
    changed = GTRNet("resnet10").eval()
    changed.load_state_dict(small_network.state_dict())
    with torch.no_grad():
        changed.fc.bias[0] += 1e-3

    first = write_artefact(tmp_path / "a", small_network, small_manifest())
    again = write_artefact(tmp_path / "b", small_network, small_manifest())
    other_number = write_artefact(tmp_path / "c", small_network, small_manifest(temperature=1.5001))
    other_weight = write_artefact(tmp_path / "d", changed, small_manifest())

    assert first == again
    assert len({first, other_number, other_weight}) == 3


def test_the_version_does_not_depend_on_how_the_manifest_is_laid_out(folder: Path):
    before = read_version(folder)

    edit_manifest(folder, lambda m: None)  # written again without indentation

    assert read_version(folder) == before


def test_an_artefact_is_replaced_whole(folder: Path, small_network: GTRNet):
    version = write_artefact(folder, small_network, small_manifest(name="newer"))

    assert load_artefact(folder).manifest.name == "newer"
    assert verify(folder) == version
    assert [p.name for p in folder.parent.iterdir()] == ["copy"]


def test_a_failed_write_leaves_the_old_artefact_and_no_debris(folder: Path):
    before, broken = verify(folder), GTRNet("resnet10")
    with torch.no_grad():
        broken.fc.bias[2] = float("nan")

    with pytest.raises(ModelArtefactError, match=r"fc\.bias.*not finite"):
        write_artefact(folder, broken, small_manifest())
    with pytest.raises(ModelArtefactError, match=r"manifest\.feature_count is 99"):
        write_artefact(folder, GTRNet("resnet10"), small_manifest(feature_count=99))

    assert verify(folder) == before
    assert [p.name for p in folder.parent.iterdir()] == ["copy"]


def test_a_weight_too_large_for_float16_is_not_written(tmp_path: Path):
    network = GTRNet("resnet10")
    with torch.no_grad():
        network.bn1.running_var[0] = 1e6

    with pytest.raises(ModelArtefactError, match=r"bn1\.running_var.*float16"):
        write_artefact(tmp_path / "a", network, small_manifest(), torch.float16)


MANIFEST_DAMAGE = {
    "manifest has unknown field": lambda m: m.update(surprise=1),
    "manifest: .*missing.*temperature": lambda m: m.pop("temperature"),
    r"manifest.priors: priors.cohort is": lambda m: m["priors"].update(cohort=[1, 0, 0, 0]),
    "manifest.priors has unknown field": lambda m: m["priors"].update(odds=1),
    "manifest.temperature is 0": lambda m: m.update(temperature=0),
    "not supported between": lambda m: m.update(temperature="hot"),
    "manifest.json is not JSON: Infinity": lambda m: m.update(temperature=float("inf")),
    "manifest.rad_score is not an object": lambda m: m.update(rad_score=None),
    "manifest.contract.size holds a value": lambda m: m["contract"].update(size="large"),
    "manifest.contract.n4.fwhm holds a value": lambda m: m["contract"]["n4"].update(fwhm=None),
    "manifest.architecture is 'vit'": lambda m: m.update(architecture="vit"),
    "manifest.class_order": lambda m: m.update(class_order=["T4", "T3", "T2", "T1"]),
    "manifest.format is 2": lambda m: m.update(format=2),
    "manifest.backbone 'resnet9'": lambda m: m.update(backbone="resnet9"),
    "manifest.feature_count is 2048, not 512": lambda m: m.update(feature_count=2048),
    "manifest.rad_score.selected": lambda m: m["rad_score"].update(selected=[3, 512]),
    "manifest.rad_score.coefficients has 1 values, not 2": lambda m: m["rad_score"].update(coefficients=[0.5]),
    "manifest.rad_score.feature_scale": lambda m: m["rad_score"].update(feature_scale=[0.0, 1.0]),
    "manifest.key_slice_locator.coefficients": lambda m: m["key_slice_locator"].update(coefficients=[1.0]),
    "manifest.weights_sha256": lambda m: m.update(weights_sha256="0" * 64),
}


@pytest.mark.parametrize("told", MANIFEST_DAMAGE)
def test_a_damaged_manifest_is_refused_with_field_and_folder(folder: Path, told: str):
    edit_manifest(folder, MANIFEST_DAMAGE[told])

    with pytest.raises(ModelArtefactError, match=told) as refused:
        load_artefact(folder)

    assert str(folder) in str(refused.value)


WEIGHTS_DAMAGE = {
    r"missing \['fuse.weight'\]": lambda t: t.pop("fuse.weight"),
    r"unknown \['surprise'\]": lambda t: t.update(surprise=torch.zeros(1)),
    r"fc.bias has shape \(5,\)": lambda t: t.update({"fc.bias": torch.zeros(5)}),
    r"fc.bias holds values that are not finite": lambda t: t.update({"fc.bias": torch.tensor([0, 0, 0, float("inf")])}),
    r"fc.bias is torch.int64": lambda t: t.update({"fc.bias": torch.zeros(4, dtype=torch.int64)}),
}


@pytest.mark.parametrize("told", WEIGHTS_DAMAGE)
def test_weights_that_are_not_the_networks_are_refused_with_tensor_and_folder(folder: Path, told: str):
    edit_weights(folder, WEIGHTS_DAMAGE[told])

    with pytest.raises(ModelArtefactError, match=told) as refused:
        load_artefact(folder)

    assert str(folder) in str(refused.value)


def test_one_flipped_bit_in_the_weights_is_noticed(folder: Path):
    path = folder / "weights.safetensors"
    data = bytearray(path.read_bytes())
    data[-7] ^= 1
    path.write_bytes(data)

    with pytest.raises(ModelArtefactError, match=r"manifest\.weights_sha256 says"):
        load_artefact(folder)


def test_what_is_hashed_is_what_is_loaded(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """Whoever exchanges the file between the digest and the loading exchanges nothing."""
    path, intact = folder / "weights.safetensors", load_artefact(folder).network.state_dict()
    tensors = {k: torch.zeros_like(v) for k, v in load_file(path).items()}
    exchanged = GTRNet.__init__

    def exchange(self: GTRNet, *args: object, **options: object) -> None:  # the network is built between the two
        save_file(tensors, path)
        exchanged(self, *args, **options)

    monkeypatch.setattr(GTRNet, "__init__", exchange)
    loaded = load_artefact(folder).network.state_dict()

    assert all(torch.equal(loaded[k], intact[k]) for k in intact)


@pytest.mark.parametrize("name", ["weights.safetensors", "manifest.json"])
def test_a_missing_file_is_named(folder: Path, name: str):
    (folder / name).unlink()

    with pytest.raises(ModelArtefactError, match=f"cannot read {name}"):
        load_artefact(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"temperature": NaN}', "\xff\xfe"])
def test_a_manifest_that_is_no_json_object_is_refused(folder: Path, text: str):
    (folder / "manifest.json").write_bytes(text.encode("latin-1"))

    with pytest.raises(ModelArtefactError, match=str(folder)):
        load_artefact(folder)


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_a_pickle_in_place_of_the_weights_is_refused_and_not_executed(folder: Path, tmp_path: Path):
    (folder / "weights.safetensors").write_bytes(pickle.dumps(Bomb(tmp_path / "exploded")))
    digest = hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()
    edit_manifest(folder, lambda m: m.update(weights_sha256=digest))

    with pytest.raises(ModelArtefactError, match="not a safetensors file"):
        load_artefact(folder)

    assert not (tmp_path / "exploded").exists()


def test_an_artefact_from_before_priors_were_kept_says_that_they_are_not_known(folder: Path):
    edit_manifest(folder, lambda m: m.pop("priors"))

    assert load_artefact(folder).manifest.priors is None
