"""A canary that was recorded on the CPU passes on the GPU. Skips itself where there is no CUDA."""

import pytest
import torch

from gtr_batch.domain.canary import deviations
from gtr_batch.night.canary import read_canary
from gtr_batch.night.canary.path import answer_of
from gtr_batch.simulation.demos.demo import ARTEFACT
from gtr_batch.stage import load_artefact

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def test_the_gpu_gives_the_recorded_answer():
    stored = read_canary(ARTEFACT)

    found = deviations(stored.answer, answer_of(load_artefact(ARTEFACT, "cuda"), stored.series))

    assert [one.sentence for one in found if one.is_beyond] == []
