"""Who may be staged: the paper's criteria, judged on what the EHR says as of the study date."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from gtr_batch.domain.clinical import PatientFacts
from gtr_batch.domain.refusal import Refusal, RefusalCode
from gtr_batch.domain.series import StudyRecord
from gtr_batch.intake.words import operated

_BASIS = "as of the study date"


def judge_patient(facts: PatientFacts | None) -> Refusal | None:
    """Whether a patient may be staged.

    Parameters
    ----------
    facts : PatientFacts or None
        What the EHR says as of the study date; None where it does not know the patient.

    Returns
    -------
    Refusal or None
        The first criterion that fails, in the order of the paper; the others are in ``numbers["also"]``.

    References
    ----------
    Paper, Methods, "Patients": histologically confirmed gastric cancer, no prior chemotherapy or radiotherapy, no
    distant metastasis. An operated stomach is ours: the model has seen none, and there is no primary tumour to stage.
    """
    if facts is None:
        return Refusal(RefusalCode.NOT_IN_EHR, "The EHR extracts do not know this patient, so eligibility is unknown.")
    found: list[tuple[RefusalCode, str]] = []
    if facts.gastric_adenocarcinoma is False:
        found.append(
            (
                RefusalCode.NO_GASTRIC_ADENOCARCINOMA,
                f"The EHR's biopsies {_BASIS} show no gastric adenocarcinoma.",
            )
        )
    elif facts.gastric_adenocarcinoma is None:
        found.append(
            (
                RefusalCode.NO_GASTRIC_ADENOCARCINOMA,
                f"The EHR holds no biopsy that proves gastric adenocarcinoma {_BASIS}.",
            )
        )
    if facts.prior_gastric_surgery:
        found.append(
            (RefusalCode.PRIOR_GASTRIC_SURGERY, "The EHR records an operation of the stomach before the study date.")
        )
    if facts.prior_chemotherapy:
        found.append((RefusalCode.PRIOR_CHEMOTHERAPY, "The EHR records chemotherapy that began before the study date."))
    if facts.prior_radiotherapy:
        found.append((RefusalCode.PRIOR_RADIOTHERAPY, "The EHR records radiotherapy that began before the study date."))
    if facts.distant_metastasis:
        found.append((RefusalCode.DISTANT_METASTASIS, f"The EHR records a distant metastasis {_BASIS}."))
    if not found:
        return None
    code, sentence = found[0]
    also = [str(c) for c, _ in found[1:]]
    return Refusal(code, sentence, {"also": also} if also else {})


def judge_descriptions(descriptions: Iterable[tuple[str, str]]) -> Refusal | None:
    """Whether a description says that the stomach was operated before the study, whatever the EHR knows.

    Parameters
    ----------
    descriptions : iterable of (str, str)
        Where a text stands, and the text. Only the words that matched are repeated.
    """
    for where, text in descriptions:
        if words := operated(text):
            return Refusal(
                RefusalCode.PRIOR_GASTRIC_SURGERY,
                f"The {where} says {words!r}: the stomach was operated before the study.",
                {"where": where, "words": words},
            )
    return None


def judge_study(studies: Sequence[StudyRecord]) -> dict[str, Refusal]:
    """Studies of which nobody can say whose they are.

    Two different PatientIDs under one accession number, or under one Study Instance UID, make each of those studies
    ambiguous. An empty accession number is no collision; blanks around values are not significant (PS3.5, 6.2).

    Parameters
    ----------
    studies : sequence of StudyRecord
        All studies of the night.

    Returns
    -------
    dict
        Refusal ``ambiguous_patient`` by Study Instance UID; studies that are clear are not in it.
    """
    by_accession: dict[str, list[StudyRecord]] = defaultdict(list)
    by_uid: dict[str, list[StudyRecord]] = defaultdict(list)
    for study in studies:
        if study.accession_number.strip():
            by_accession[study.accession_number.strip()].append(study)
        by_uid[study.study_uid].append(study)
    refused: dict[str, Refusal] = {}
    for groups, shared in ((by_accession, "accession number"), (by_uid, "Study Instance UID")):
        for group in groups.values():
            patients = {study.patient.patient_id for study in group}
            if len(patients) < 2:
                continue
            for study in group:
                refused[study.study_uid] = Refusal(
                    RefusalCode.AMBIGUOUS_PATIENT,
                    f"{len(patients)} different patients share one {shared}: it is not clear whose study this is.",
                    {"patients": len(patients), "studies": len(group), "shared": shared},
                )
    return refused
