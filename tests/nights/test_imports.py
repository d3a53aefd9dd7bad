"""What each task of a night imports: a task may be a process of its own, and what it does not need costs it seconds."""

from __future__ import annotations

import os

import pytest

from gtr_batch.errors import ModelArtefactError
from tests.fresh_step import PATH, night_in_fresh_processes
from tests.nights.conftest import NIGHT
from tests.settings import as_environment

#: Libraries that take long to import, and the steps that need them.
NEEDED_BY = {
    "torch": {"canary", "preprocess", "stage"},
    "torchvision": {"canary", "preprocess", "stage"},
    "SimpleITK": {"preprocess"},
    "pytorch_grad_cam": {"stage"},
    "sklearn": {"stage"},  # by pytorch-grad-cam
    "great_expectations": {"validate"},
    "pandas": {"validate", "stage"},  # by pytorch-grad-cam too
    "matplotlib": {"stage", "report"},  # by pytorch-grad-cam; the report's colours and letters
    "highdicom": {"report", "deliver"},
    "mlflow": set(),
    "airflow": set(),
}


@pytest.mark.slow
def test_a_step_imports_no_library_that_another_step_needs(site, config, admit, enter_in_ehr, fill):
    """Each step of a night of one case, in an interpreter of its own."""
    admit("a")
    enter_in_ehr("a")
    fill()

    seen = night_in_fresh_processes(NIGHT, {**os.environ, **as_environment(config)})

    assert [case.state for case in site.cases.of_night(NIGHT)] == ["committed"]
    imported = {step: {name.partition(".")[0] for name in found["modules"]} for step, found in seen.items()}
    for library, steps in NEEDED_BY.items():
        assert {step for step in PATH if library in imported[step]} == steps, library


def test_a_manifest_that_is_another_models_is_not_read(site, config, challenger):
    class Elsewhere:
        def find(self, version):
            return challenger

    mine = site.model_version
    site.model_store = Elsewhere()

    with pytest.raises(ModelArtefactError, match=f"not {mine[:12]}"):
        site.manifest_by(mine)
