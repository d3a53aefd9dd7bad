"""Lawful EHR extracts of two invented patients, to be spoilt by tests."""

from __future__ import annotations

from pathlib import Path

EXTRACTS: dict[str, str] = {
    "patient": "patient_id,sex,birth_date\nP1,female,1960-05-17\nP2,male,1955-11-02\n",
    "biopsy": (
        "patient_id,biopsy_date,site,adenocarcinoma,lauren,differentiation\n"
        "P1,2026-02-01,stomach,yes,diffuse,poor\n"
        "P2,2026-02-03,stomach,yes,,moderate\n"
    ),
    "tumour": "patient_id,measured_on,size_cm,location\nP1,2026-02-01,6.2,lower\nP2,2026-02-03,,upper\n",
    "marker": (
        "patient_id,sampled_on,cea_ng_ml,ca19_9_u_ml,ca72_4_u_ml,ca125_u_ml,afp_ng_ml,pd_l1_percent\n"
        "P1,2026-02-01,4.35,41.57,5.91,13.12,8.32,6.8\n"
    ),
    "treatment": "patient_id,kind,started_on,ended_on\nP2,chemotherapy,2026-03-01,2026-04-01\n",
    "metastasis": "patient_id,assessed_on,distant_metastasis\nP1,2026-02-10,no\n",
    "surgery": "patient_id,operated_on,reported_on,classification,t_category\nP1,2026-03-20,2026-03-27,pT,T4a\n",
    "read": "patient_id,study_uid,read_on,radiologist_ct,endosonographer_ut\nP1,1.2.3,2026-03-02,T3,T2\n",
    "key_slice": "patient_id,study_uid,accession_number,sop_instance_uid\nP1,1.2.3,,1.2.3.4.5\nP2,,ACC2,1.2.3.4.6\n",
}


def write(folder: Path, *only: str, **changed: str | bytes) -> Path:
    """Write the extracts, or `only` these and the `changed` ones; `changed` gives other content."""
    folder.mkdir(exist_ok=True)
    names = {*only, *changed} if only else {*EXTRACTS}
    for name, content in {**EXTRACTS, **changed}.items():
        if name in names:
            (folder / f"{name}.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder
