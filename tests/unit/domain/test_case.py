"""Which step is next for a case."""

from datetime import date

import attrs
import pytest

from gtr_batch.domain.case import Case, CaseState, Failure, Step
from gtr_batch.domain.refusal import Refusal, RefusalCode

CASE = Case(case_id="x", night=date(2026, 3, 2), study_uid="1.2", patient_id="SECRET", accession_number="SECRET2")


def test_identity_is_not_in_the_text_of_a_case():
    assert "SECRET" not in repr(CASE)


@pytest.mark.parametrize("step", [Step.VALIDATE, Step.STAGE, Step.DELIVER])
def test_a_new_case_is_ready_for_retrieve_alone(step):
    assert CASE.ready_for(Step.RETRIEVE)
    assert not CASE.ready_for(step)


@pytest.mark.parametrize("retryable", [True, False])
def test_a_failed_case_resumes_where_it_stopped_if_it_may_be_retried(retryable):
    failed = attrs.evolve(
        CASE,
        state=CaseState.FAILED,
        reached=CaseState.STAGED,
        failure=Failure(Step.NOMOGRAM, "DatabaseBusy: …", retryable),
    )

    assert failed.ready_for(Step.NOMOGRAM) is retryable


def test_a_refused_case_is_ready_for_nothing():
    refused = attrs.evolve(CASE, state=CaseState.REFUSED, refusal=Refusal(RefusalCode.MATRIX, "…"))

    assert not any(refused.ready_for(step) for step in (Step.RETRIEVE, Step.VALIDATE, Step.REPORT))


def test_deliver_resumes_after_storing_to_wait_for_the_commitment():
    assert attrs.evolve(CASE, state=CaseState.STORED, reached=CaseState.STORED).ready_for(Step.DELIVER)
