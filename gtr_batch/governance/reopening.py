"""A refusal taken back by a person: the case is retrieved and judged anew, and who wanted it stays in its events."""

from __future__ import annotations

from gtr_batch.domain.case import Case, CaseState, Step
from gtr_batch.domain.identity import names
from gtr_batch.domain.transitions import Reopening
from gtr_batch.errors import InputRefused
from gtr_batch.governance.known_case import known_case
from gtr_batch.governance.registry import answered_for
from gtr_batch.logs import get_logger
from gtr_batch.night.site import Site


def reopen(site: Site, case_id: str, *, by: str, why: str) -> Case:
    """Take back the refusal of a case; the next run of its night, or a night that looks back on it, begins it anew.

    Our copy of its images is deleted, so that what was mended in the PACS is fetched. An event that cannot be changed
    holds the name, the reason and the refusal that was taken back.

    Parameters
    ----------
    case_id : str
        The whole id, as ``gtr status --json`` shows it.
    by, why : str
        Who wants it, and the reason.

    Raises
    ------
    InputRefused
        There is no such case; it is not refused; intake refused the whole study, which every run of the night judges
        anew by itself; nobody answers for it; or the reason names the patient. Nothing is changed.
    """
    answered_for(by, why)
    case = known_case(site.cases, case_id)
    if case.state is not CaseState.REFUSED or case.refusal is None:
        raise InputRefused(f"case {case_id} is {case.state}, not refused: there is nothing to reopen")
    if not case.series_uid:
        raise InputRefused(
            f"case {case_id}: intake refused the whole study ({case.refusal.code}), and judges it anew by what the EHR "
            f"and the PACS say whenever the night is run: `gtr night --night {case.night}`"
        )
    if any(names(text, case.patient_id, case.accession_number) for text in (by, why)):
        raise InputRefused(
            f"case {case_id}: name and reason are kept as events and must hold no PatientID or accession number"
        )
    site.files.discard_case(case.night, case_id)
    with site.cases.step(case_id, Step.INTAKE) as record:
        record.reopen(Reopening(why=why.strip(), by=by.strip()))
    get_logger("reopen").info("case.reopened", case_id=case_id, code=str(case.refusal.code), by=by.strip())
    return site.cases.get(case_id)
