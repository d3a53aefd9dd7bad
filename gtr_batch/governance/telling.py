"""What another system would be told of a case now, for a person who wants it as a file."""

from __future__ import annotations

from gtr_batch.domain.case import CaseState
from gtr_batch.domain.identity import names
from gtr_batch.domain.lifecycle import WITHDRAWN
from gtr_batch.domain.result_message import MessageKind, ResultMessage
from gtr_batch.errors import InputRefused
from gtr_batch.governance.known_case import known_case
from gtr_batch.governance.registry import answered_for
from gtr_batch.night.site import Site
from gtr_batch.ports import ModelRegistry, ResultMessages


def message_about(
    site: Site, registry: ModelRegistry, messages: ResultMessages, case_id: str, *, by: str, why: str
) -> ResultMessage:
    """The result that a case carries, as a message of its newest version; withdrawn where its model is.

    Raises
    ------
    InputRefused
        No such case, or the PACS has not committed its result; nobody answers for it, or no reason is given.
    """
    answered_for(by, why)
    case = known_case(site.cases, case_id)
    if any(names(text, case.patient_id, case.accession_number) for text in (by, why)):
        raise InputRefused(f"case {case.case_id}: name and reason are kept; no PatientID or accession number in them")
    staging = site.cases.staging(case_id)
    if staging is None or case.state is not CaseState.COMMITTED:
        raise InputRefused(f"case {case.case_id} is {case.state}: it has no result that the PACS has committed")
    withdrawn = registry.state(staging.model_version) == WITHDRAWN
    return ResultMessage(
        message_id=0,
        case=case,
        version=messages.newest_version(case.case_id) or 1,
        kind=MessageKind.WITHDRAWN if withdrawn else MessageKind.RESULT,
        model_version=staging.model_version,
        written_at=site.cases.events(case.case_id)[-1]["at"],
        staging=None if withdrawn else staging,
        score=None if withdrawn or staging.abstention is not None else site.cases.score(case.case_id),
    )
