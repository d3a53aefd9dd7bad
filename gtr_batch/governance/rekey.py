"""A case under another PatientID: what a person does after two patients were merged in the PACS (ADT^A40)."""

from __future__ import annotations

from gtr_batch.domain import transitions
from gtr_batch.domain.case import Case, CaseState, Step
from gtr_batch.domain.identity import PatientIdentity, names
from gtr_batch.errors import InputRefused
from gtr_batch.governance.registry import answered_for
from gtr_batch.identity import read_identity
from gtr_batch.intake import judge_patient
from gtr_batch.logs import get_logger
from gtr_batch.night.site import Site

LONGEST = 64  # characters of a PatientID or its issuer (VR LO)


def rekey(site: Site, case_id: str, patient: PatientIdentity, *, by: str, why: str) -> Case:
    """Give a case the PatientID that its study has in the PACS now.

    The patient is looked up in the EHR again, and judged again. A case whose report was not sent yet begins anew: the
    next run of its night retrieves the images that carry another PatientID, and stages, scores and reports it. One that
    the PACS has already keeps its state: the PACS has merged the objects itself.

    Parameters
    ----------
    patient : PatientIdentity
        Checked against the PACS and the EHR: a number that was mistyped changes nothing.
    by, why : str
        Who answers for it, and the reason; kept as an event of the case, which never holds a PatientID.

    Returns
    -------
    Case
        As it is afterwards: found, refused because the patient is not eligible, or where the PACS has it already.

    Raises
    ------
    InputRefused
        No such case, or one without a series; a PatientID that is none, that the PACS does not list the study under, or
        that the EHR does not know; a reason that names it. Nothing is changed.
    GovernanceRefused, InputRefused
        Nobody answers for it, or no reason is given.
    TransientError
        The PACS or the database cannot be asked now.
    """
    answered_for(by, why)
    case = _known(site, case_id)
    _check_value(patient)
    for text in (by, why):
        if names(text, patient.patient_id, case.patient_id):
            raise InputRefused(f"case {case_id}: name and reason are kept as events and must not hold a PatientID")
    listed = site.archive.find_study(case.study_uid)
    if not listed or any(patient.differences(study.patient) for study in listed):
        raise InputRefused(
            f"case {case_id}: the PACS does not list study {case.study_uid} under this PatientID (and issuer); nothing "
            f"is changed. Its report could not be sent: mend the PACS, or the number"
        )
    facts = site.clinical.facts(
        patient.patient_id, case.study_uid, case.study_at.date() if case.study_at else case.night
    )
    if facts is None:
        raise InputRefused(
            f"case {case_id}: the EHR extracts know no patient of this PatientID; nothing is changed. Load them first: "
            f"gtr ehr load"
        )
    refusal = judge_patient(facts)
    with site.cases.step(case_id, Step.INTAKE) as record:
        record.rekey(patient, {"by": by.strip(), "why": why.strip()})
        if refusal is not None and transitions.rekeyed(case, patient).state is CaseState.FOUND:
            record.refuse(refusal)
    after = site.cases.get(case_id)
    _discard_images_of_before(site, after)
    get_logger("case").info("case.rekeyed", case_id=case_id, state=str(after.state), by=by.strip())
    return after


def _known(site: Site, case_id: str) -> Case:
    try:
        case = site.cases.get(case_id)
    except KeyError:
        raise InputRefused(f"there is no case {case_id[:40]!r}; `gtr status --json` has the case ids") from None
    if not case.series_uid:
        raise InputRefused(
            f"case {case_id} is a study that intake refused whole, so nothing was written for it: run its night again, "
            f"and intake asks the PACS and the EHR anew"
        )
    return case


def _check_value(patient: PatientIdentity) -> None:
    if not patient.patient_id:
        raise InputRefused("the PatientID is empty: it names nobody")
    for name, value in (("PatientID", patient.patient_id), ("issuer", patient.issuer)):
        if len(value) > LONGEST or "\\" in value or not value.isprintable():
            raise InputRefused(
                f"the {name} is none: at most {LONGEST} printable characters, no backslash (PS3.5, 6.2, LO)"
            )


def _discard_images_of_before(site: Site, case: Case) -> None:
    """Delete retrieved files that carry another PatientID: who needs them retrieves them anew."""
    identity = case.identity()
    for path in sorted(site.files.folder(case.night, case.case_id, Step.RETRIEVE).rglob("*.dcm")):
        found = read_identity(path)
        if found is not None and identity.differences(found):
            path.unlink(missing_ok=True)
