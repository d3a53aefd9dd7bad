"""Phantoms prepared in memory are what a PACS would have brought; what is blanked says nothing of the stage."""

from __future__ import annotations

import numpy as np
import pytest

from gtr_batch.domain.model import PreprocessingContract
from gtr_batch.domain.staging import STAGES
from gtr_batch.simulation.demos.cohort import Drawn, blanked
from gtr_batch.simulation.hospital.cohort import draw_phantom, prepare_family, prepare_patient
from gtr_batch.training.loop import PreparedSlices

CONTRACT = PreprocessingContract()


@pytest.fixture(scope="module")
def family():
    """One whose key slices lie on one height, so that they can be compared."""
    return prepare_family(7, 0, CONTRACT)


def test_the_sketch_for_n4_gives_the_full_computations_input():
    """In z-scored units; the scanner's own noise is about 0.1."""
    quick = prepare_patient(7, 1, CONTRACT)

    full = prepare_patient(7, 1, CONTRACT, sketch=False)

    difference = quick.slices - full.slices
    assert difference.std() < 0.05
    assert np.corrcoef(quick.slices.ravel(), full.slices.ravel())[0, 1] > 0.999


def test_patients_take_turns_through_the_stages():
    assert [draw_phantom(1, k)[2] for k in range(8)] == [*STAGES, *STAGES]


def test_a_family_differs_in_the_stage_alone(family):
    assert [p.stage for p in family] == list(STAGES)
    assert len({p.scanner for p in family}) == 1
    assert len({p.clinical.size_cm for p in family}) == 1


def test_the_site_lies_in_the_box_and_the_tumour_about_it(family):
    for patient in family:
        top, bottom, left, right = patient.box
        row, column = patient.site
        assert top < row < bottom
        assert left < column < right
    alike = [p for p in family if p.key_index == family[0].key_index]
    apart = np.abs(alike[-1].slices[1] - alike[0].slices[1])
    row, column = (int(v) for v in family[0].site)
    assert apart[row - 20 : row + 20, column - 20 : column + 20].mean() > 4 * apart.mean()


def test_with_the_stomach_blanked_the_stages_look_the_same(family):
    """Those whose key slices fall on one height: what is left of the stage is N4's echo of it, far below noise."""
    same_height = [p for p in family if p.key_index == family[0].key_index]
    drawn = Drawn(
        PreparedSlices(np.stack([p.slices for p in same_height]), np.array([p.stage.position for p in same_height])),
        np.array([family[0].box] * len(same_height)),
        np.zeros(len(same_height)),
    )

    blind = blanked(drawn).slices.astype(np.float32)

    assert len(same_height) >= 2
    assert np.abs(blind - blind[0]).max() < 0.1
    seen = drawn.cohort.slices
    assert np.abs(seen - seen[0]).max() > 0.5


def test_blanked_slices_are_z_scored_outside_and_zero_inside(family):
    patient = family[1]
    cohort = PreparedSlices(patient.slices[None], np.array([1]))

    blind = blanked(Drawn(cohort, np.array([patient.box]), np.zeros(1))).slices[0].astype(np.float32)

    top, bottom, left, right = patient.box
    outside = np.ones(blind.shape[1:], bool)
    outside[top:bottom, left:right] = False
    assert (blind[:, top:bottom, left:right] == 0).all()
    np.testing.assert_allclose(blind[:, outside].mean(axis=1), 0, atol=1e-2)
    np.testing.assert_allclose(blind[:, outside].std(axis=1), 1, atol=1e-2)
