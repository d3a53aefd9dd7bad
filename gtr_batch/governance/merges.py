"""Cases of patients that were merged: each gets the PatientID that its study has in the PACS by now.

The RIS says that two patients are one before, or after, the PACS has merged them. Until the PACS has, a case stays
under the number that the PACS has too, since a report under another one is not taken; it is looked at again later.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen

from gtr_batch.domain.case import Case
from gtr_batch.domain.identity import PatientIdentity
from gtr_batch.domain.patient_merge import names_since
from gtr_batch.errors import InputRefused
from gtr_batch.governance.rekey import rekey
from gtr_batch.logs import get_logger
from gtr_batch.night.site import Site
from gtr_batch.ports import PatientMerges

log = get_logger("merges")
BY, WHY = "RIS", "patients were merged (ADT^A40)"


@frozen
class Applied:
    """Case ids that have another PatientID now, and those that wait, each with the reason."""

    rekeyed: tuple[str, ...] = ()
    waiting: Mapping[str, str] = field(factory=dict)


def apply_merges(site: Site, merges: PatientMerges) -> Applied:
    """Give every case of a merged patient the PatientID that the PACS lists its study under now.

    Run twice it changes nothing more. Raises `TransientError` where the PACS or the database does not answer.
    """
    rekeyed, waiting = [], {}
    for case in site.cases.of_patients(merges.merged_patients()):
        names = names_since(merges.merges([case.patient_id]), case.patient)
        if not names or not names[-1][0].differences(case.patient):
            continue
        if not case.series_uid:
            continue  # a study that intake refused whole: intake asks the PACS and the EHR anew
        found = _listed_as(site, case, names)
        if found is None:
            waiting[case.case_id] = "the PACS does not list the study under the new PatientID yet"
            continue
        patient, merge_id = found
        try:
            rekey(site, case.case_id, patient, by=BY, why=WHY)
        except InputRefused as err:
            waiting[case.case_id] = str(err)
            continue
        merges.note_case(case.case_id, merge_id)
        rekeyed.append(case.case_id)
    if rekeyed or waiting:
        log.info("merges.applied", rekeyed=len(rekeyed), waiting=len(waiting))
    return Applied(tuple(rekeyed), waiting)


def _listed_as(site: Site, case: Case, names: list[tuple[PatientIdentity, int]]) -> tuple[PatientIdentity, int] | None:
    """The newest of these names under which the PACS lists the case's study, with the PACS's issuer."""
    listed = site.archive.find_study(case.study_uid)
    for patient, merge_id in reversed(names):
        if listed and not any(patient.differences(study.patient) for study in listed):
            return PatientIdentity(patient.patient_id, listed[0].patient.issuer), merge_id
    return None
