"""One case as a person looks at it; every look is noted before anything is shown, and a named patient has a reason."""

from __future__ import annotations

from gtr_batch.access import looked, looked_at_patient
from gtr_batch.domain.case import Case
from gtr_batch.domain.case_history import CaseEvent, CaseHistory, NamedPatient, WrittenObject
from gtr_batch.domain.identity import names
from gtr_batch.errors import InputRefused
from gtr_batch.governance.known_case import known_case
from gtr_batch.governance.registry import answered_for
from gtr_batch.night.close import night_case
from gtr_batch.night.site import Site


def look_at(site: Site, case_id: str, *, by: str = "", why: str = "") -> CaseHistory:
    """What is in the book for a case; with a name and a reason also whose case it is.

    Parameters
    ----------
    case_id : str
        The whole id, as ``gtr status --json`` shows it.
    by, why : str
        Who wants to see the patient, and the reason; kept in the audit trail. Both empty: no patient is shown.

    Raises
    ------
    InputRefused
        There is no such case; only one of `by` and `why` is given; the reason names the patient.
    """
    case = known_case(site.cases, case_id)
    named = bool(by.strip() or why.strip())
    if named:
        answered_for(by, why)
        if any(names(text, case.patient_id, case.accession_number) for text in (by, why)):
            raise InputRefused(
                f"case {case_id}: name and reason are kept in the audit trail and must hold no PatientID or "
                "accession number"
            )
        looked_at_patient(site.trail, case.case_id, by=by, why=why)
    else:
        looked(site.trail, "case", case.case_id)
    patient = NamedPatient(case.patient, case.accession_number) if named else None
    return _history(site, case, patient)


def _history(site: Site, case: Case, patient: NamedPatient | None) -> CaseHistory:
    stored = site.deliveries.stored(case.case_id)
    objects = site.cases.objects(case.case_id)
    touched = [case.case_id, *(one.sop_instance_uid for one in objects)]
    return CaseHistory(
        night=case.night,
        case=night_case(site, case),
        objects=[WrittenObject(one, one.sop_instance_uid in stored) for one in objects],
        events=[
            CaseEvent(one["at"], str(one["step"]), str(one["state"]), one["detail"])
            for one in site.cases.events(case.case_id)
        ],
        accesses=site.trail.about(touched),
        patient=patient,
    )
