"""Earlier days that a night looks back on: which of their studies concern it, and how its cases came to it.

A study concerns a later night where it is new to us, where it was refused for what time can mend
(`gtr_batch.domain.refusal` says which), or where it has a case whose series may grow. What is left alone costs nothing
but its line in the PACS's list of studies and its place in two queries of the database.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import date
from typing import Any

from gtr_batch.domain.case import Case, CaseState
from gtr_batch.domain.series import StudyRecord
from gtr_batch.night.site import Site, night_window


def is_earlier(site: Site, night: date, study: StudyRecord | Case) -> bool:
    """Whether a study lies before the night's own window: looked back on."""
    return study.study_at is not None and study.study_at < night_window(site.config, night)[0]


def concerning(site: Site, night: date, studies: Sequence[StudyRecord]) -> list[StudyRecord]:
    """The studies of the night's own window, and those earlier ones that something may have become of.

    A patient who is not in the EHR was counted in the night of the study; the study is new to us once the EHR knows the
    patient.
    """
    earlier = [study for study in studies if is_earlier(site, night, study)]
    cases = site.cases.of_studies([study.study_uid for study in earlier])
    new = [study for study in earlier if study.study_uid not in cases]
    unknown_too = site.settings.intake.refuse_without_ehr
    patients = frozenset() if unknown_too else site.clinical.known([study.patient_id for study in new])

    def concerns(study: StudyRecord) -> bool:
        if not is_earlier(site, night, study):
            return True
        if known := cases.get(study.study_uid):
            return any(_may_change(case) for case in known)
        return unknown_too or study.patient_id in patients

    return [study for study in studies if concerns(study)]


def _may_change(case: Case) -> bool:
    return case.refusal is None or case.refusal.waiting_can_mend


def came_by_looking_back(site: Site, night: date, cases: Sequence[Case]) -> dict[str, Any]:
    """How many of a night's cases are of earlier studies, and why they came only now.

    Returns
    -------
    dict
        ``cases``; of them ``late`` (new to us), ``mended`` (counts by the code of the refusal that holds no more) and
        ``begun_anew`` (the series has grown, a key slice was marked, or an earlier night did not finish it).
    """
    earlier = [case for case in cases if is_earlier(site, night, case)]
    late, anew, mended = 0, 0, Counter[str]()
    for case in earlier:
        refused = [one for one in site.cases.of_study(case.study_uid) if _was_refused_whole(one, case)]
        if any("reopened" in event["detail"] for event in site.cases.events(case.case_id)):
            anew += 1
        elif refused and refused[-1].refusal is not None:
            mended[str(refused[-1].refusal.code)] += 1
        else:
            late += 1
    return {"cases": len(earlier), "late": late, "mended": dict(mended), "begun_anew": anew}


def _was_refused_whole(one: Case, case: Case) -> bool:
    return not one.series_uid and one.case_id != case.case_id and one.state is CaseState.REFUSED
