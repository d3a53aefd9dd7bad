"""The GPU stages and explains as the CPU does. Skips itself where there is no CUDA."""

import copy

import numpy as np
import pytest
import torch

from gtr_batch.domain.prepared import PreparedGeometry
from gtr_batch.explain import GradCamForward
from gtr_batch.stage import choose_device, load_artefact, slice_scores, stage_shard, write_artefact
from gtr_batch.stage.network import GTRNet
from tests.unit.stage.small import small_locator, small_manifest

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

NAMES = [f"case {k}" for k in range(5)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models") / "small"
    write_artefact(folder, GTRNet("resnet10").eval(), small_manifest(key_slice_locator=small_locator()))
    return folder


@pytest.fixture(scope="module")
def inputs():
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=(3, 64, 64)).astype(np.float32) for name in NAMES}


def staged(folder, device: str, inputs, **options):
    artefact = load_artefact(folder, device)
    where = PreparedGeometry(
        512, 512, 0.0, 2.0, 0.0, 2.0, 64, ("2.25.1", "2.25.2", "2.25.3"), (0.0, 5.0, 10.0), "ehr_reference"
    )
    forward = GradCamForward(artefact.network)
    return stage_shard(artefact, inputs, dict.fromkeys(inputs, where), forward=forward, **options)


def test_auto_takes_the_gpu():
    assert choose_device("auto") == "cuda"


def test_the_gpu_gives_the_cpus_answer(folder, inputs):
    cpu, gpu = staged(folder, "cpu", inputs), staged(folder, "cuda", inputs)

    for name in NAMES:
        assert gpu[name].staging.t_stage is cpu[name].staging.t_stage
        np.testing.assert_allclose(gpu[name].logits, cpu[name].logits, atol=1e-3)
        np.testing.assert_allclose(gpu[name].features, cpu[name].features, atol=1e-3)
        np.testing.assert_allclose(gpu[name].heat, cpu[name].heat, atol=1e-2)


def test_the_gpu_gives_the_same_answer_twice(folder, inputs):
    one, two = staged(folder, "cuda", inputs), staged(folder, "cuda", inputs)

    for name in NAMES:
        np.testing.assert_array_equal(one[name].logits, two[name].logits)
        np.testing.assert_array_equal(one[name].heat, two[name].heat)


def test_the_locator_gives_the_cpus_scores(folder, inputs):
    slices = np.concatenate(list(inputs.values()))

    cpu, gpu = (slice_scores(load_artefact(folder, device), slices) for device in ("cpu", "cuda"))

    np.testing.assert_allclose(gpu, cpu, atol=1e-2)


def test_gtrnet_on_resnet152_gives_the_cpus_features():
    torch.manual_seed(0)
    cpu = GTRNet("resnet152").eval()
    gpu, x = copy.deepcopy(cpu).cuda(), torch.randn(2, 3, 224, 224)

    with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        ours, theirs = gpu.forward_features(x.cuda()).cpu(), cpu.forward_features(x)

    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=float(theirs.abs().max()) * 1e-4)


@pytest.mark.slow
def test_a_real_lack_of_gpu_memory_halves_the_batch_and_loses_no_case(folder, inputs):
    """The process is allowed a share of the GPU that holds one case but not all of them at once."""
    artefact = load_artefact(folder, "cuda")
    where = PreparedGeometry(
        512, 512, 0.0, 2.0, 0.0, 2.0, 64, ("2.25.1", "2.25.2", "2.25.3"), (0.0, 5.0, 10.0), "ehr_reference"
    )
    many = {f"{name} {k}": inputs[name] for name in NAMES for k in range(400)}
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, (torch.cuda.memory_reserved() + 600 * 2**20) / total))
    try:
        answers = stage_shard(artefact, many, dict.fromkeys(many, where), batch_cases=len(many))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)

    assert list(answers) == list(many)
    assert answers["case 0 0"].staging.t_stage is answers["case 0 399"].staging.t_stage
