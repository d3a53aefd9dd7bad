"""The operated patients of a year: where nobody marked the key slice, the night finds one as the locator does."""

from __future__ import annotations

import attrs
import numpy as np
import pytest

from gtr_batch.domain.staging import KeySliceSource
from gtr_batch.simulation.demos.demo import ARTEFACT
from gtr_batch.simulation.hospital.year import Operated, Year, key_as_found, locator_errors_mm, operated
from gtr_batch.stage.artefact import read_manifest

ERRORS_MM = (-20.0, 20.0)


@pytest.fixture(scope="module")
def one():
    """A patient and their phantom; its tumour is looked for once."""
    patient = operated(Year())[0].patient
    phantom = patient.phantom()
    key = phantom.key_slice()
    return patient, _Found(phantom, key)


class _Found:
    """A phantom whose key slice is known already."""

    def __init__(self, phantom, key):
        self._phantom, self._key = phantom, key

    def key_slice(self):
        return self._key

    def positions_mm(self):
        return self._phantom.positions_mm()


def found_mm(one, source, errors_mm) -> list[float]:
    """How far from the truth the key slices of twenty such patients lie, mm."""
    patient, phantom = one
    heights, key = phantom.positions_mm(), phantom.key_slice()
    alike = [attrs.evolve(patient, key_slice=source, index=k) for k in range(20)]
    return [float(heights[key_as_found(Operated(p, "pT"), phantom, errors_mm)] - heights[key]) for p in alike]


def test_an_automatic_patient_s_slice_is_off_as_the_locator_s_are(one):
    off = found_mm(one, KeySliceSource.AUTOMATIC, ERRORS_MM)

    assert {round(x / 20) for x in off} == {-1, 1}  # by chance all on one side: once in 500000
    assert off == found_mm(one, KeySliceSource.AUTOMATIC, ERRORS_MM)


@pytest.mark.parametrize(
    ("source", "errors_mm"),
    [(KeySliceSource.EHR, ERRORS_MM), (KeySliceSource.KEY_OBJECT, ERRORS_MM), (KeySliceSource.AUTOMATIC, ())],
    ids=str,
)
def test_a_marked_slice_is_the_truth_and_so_is_one_of_a_locator_whose_error_nobody_measured(one, source, errors_mm):
    assert set(found_mm(one, source, errors_mm)) == {0.0}


def test_the_demo_s_model_says_how_far_its_locator_is_off():
    errors = locator_errors_mm(read_manifest(ARTEFACT)[0])

    assert len(errors) >= 20
    assert np.abs(errors).max() > 10
