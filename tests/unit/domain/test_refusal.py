"""What is a verdict on a patient, and what is our own trouble: the table, code by code."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from gtr_batch.config import Config
from gtr_batch.domain.case import Case, CaseState, Step
from gtr_batch.domain.refusal import REASONS, RefusalCode, Subject
from gtr_batch.errors import CaseRejected, CasesToRetry
from gtr_batch.night.memory import MemoryCases
from gtr_batch.night.runner import Shard
from tests.builders import NIGHT

C = RefusalCode
PATIENT = {
    C.NOT_IN_EHR,
    C.NO_GASTRIC_ADENOCARCINOMA,
    C.PRIOR_CHEMOTHERAPY,
    C.PRIOR_GASTRIC_SURGERY,
    C.PRIOR_RADIOTHERAPY,
    C.DISTANT_METASTASIS,
    C.AMBIGUOUS_PATIENT,
    C.IDENTITY_MISMATCH,
}
SERVICE = {
    C.SERIES_INCOMPLETE,  # the transfer
    C.SERIES_TOO_LARGE,  # a limit of the settings, or a PACS that sends what nobody asked for
    C.NON_FINITE_OUTPUT,  # the model, or the machine that it ran on
}


def a_site(cases):
    """What a shard asks of its site, with space enough."""
    files = SimpleNamespace(free_bytes=lambda: 1 << 40)
    return SimpleNamespace(
        cases=cases, config=Config(), files=files, progress=lambda *_: None, check_running=lambda: None
    )


def test_every_code_is_about_the_patient_the_images_or_the_service():
    about = {code: reason.about for code, reason in REASONS.items()}

    assert set(about) == set(RefusalCode)
    assert {code for code, subject in about.items() if subject is Subject.PATIENT} == PATIENT
    assert {code for code, subject in about.items() if subject is Subject.SERVICE} == SERVICE


@pytest.mark.parametrize("code", list(RefusalCode))
def test_only_what_lies_in_the_patient_or_the_images_is_a_refusal(code):
    """Whatever step raises it: what is ours is failed, and asked again."""
    cases = MemoryCases([Case("c", NIGHT, "1.2", "1.2.3")])
    work = Shard(a_site(cases), Step.RETRIEVE, ["c"])

    def judge(case, record):
        raise CaseRejected(code, "so it is")

    work.one(cases.get("c"), CaseState.RETRIEVED, judge)

    case = cases.get("c")
    ours = code in SERVICE
    assert case.state is (CaseState.FAILED if ours else CaseState.REFUSED)
    assert (case.failure is not None and case.failure.retryable) is ours
    assert (case.refusal is not None) is not ours


def test_what_is_ours_makes_the_shard_red():
    cases = MemoryCases([Case("c", NIGHT, "1.2", "1.2.3")])
    work = Shard(a_site(cases), Step.RETRIEVE, ["c"])

    def judge(case, record):
        raise CaseRejected(C.SERIES_INCOMPLETE, "3 of 36 instances are missing")

    with pytest.raises(CasesToRetry, match="series_incomplete: 3 of 36"):
        work.each(CaseState.RETRIEVED, judge)
