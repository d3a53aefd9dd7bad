"""What the EHR's landing tables say of a patient on a study date."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime

from gtr_batch.db import queries, rows
from gtr_batch.db.connection import Database, Transaction
from gtr_batch.db.merges import merges_from
from gtr_batch.domain.clinical import Covariates, Differentiation, Lauren, PatientFacts
from gtr_batch.domain.identity import PatientIdentity
from gtr_batch.domain.patient_merge import surviving


class PostgresClinicalSource:
    """Port `ClinicalSource` on the tables that `ehr_refresh` fills."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def facts(self, patient_id: str, study_uid: str, on: date) -> PatientFacts | None:
        """What the EHR says of a patient as of a study date.

        Parameters
        ----------
        patient_id : str
            DICOM Patient ID (0010,0020).
        study_uid : str
            Study Instance UID, for the key slice and the readers' stages.
        on : date
            The study date. The biopsy, size and assessment of metastasis are the latest on or before it; treatment and
            surgery are prior when they were before it.

        Returns
        -------
        PatientFacts or None
            None where the EHR does not know the patient.

        Raises
        ------
        DatabaseBusy, DatabaseRefused
        """
        query = queries.load("clinical")
        patient_id = rows.text(patient_id)
        who = {"patient_id": patient_id}
        with self._database.transaction("clinical facts") as tx:
            patient = tx.one(query["patient"], **who)
            if patient is None:  # merged into another patient, perhaps, under whom the EHR has it all
                who = {"patient_id": _surviving(tx, patient_id)}
                patient = tx.one(query["patient"], **who)
            if patient is None:
                return None
            when, study = {**who, "on_date": on}, {**who, "study_uid": study_uid}
            biopsy = tx.one(query["biopsy"], **when) or {}
            size = tx.one(query["size"], **when) or {}
            treatments = {row["kind"] for row in tx.all(query["treatments"], **when)}
            operated = tx.one(query["operated"], **when)
            metastasis = tx.one(query["metastasis"], **when) or {}
            read = tx.one(query["study_read"], **study) or {}
            key_slice = tx.one(query["key_slice"], **study) or {}
        differentiation, lauren = biopsy.get("differentiation"), biopsy.get("lauren")
        return PatientFacts(
            patient_id=patient_id,
            gastric_adenocarcinoma=biopsy.get("adenocarcinoma"),
            biopsy_date=biopsy.get("biopsy_date"),
            prior_chemotherapy="chemotherapy" in treatments,
            prior_radiotherapy="radiotherapy" in treatments,
            prior_gastric_surgery=operated is not None,
            distant_metastasis=metastasis.get("distant_metastasis"),
            covariates=Covariates(
                tumour_size_cm=size.get("size_cm"),
                differentiation=Differentiation(differentiation) if differentiation else None,
                lauren=Lauren(lauren) if lauren else None,
            ),
            age_years=_age_years(patient["birth_date"], on),
            sex=patient["sex"],
            key_slice_sop_uid=key_slice.get("sop_instance_uid"),
            radiologist_ct=read.get("radiologist_ct"),
            endosonographer_ut=read.get("endosonographer_ut"),
        )

    def loaded_at(self) -> datetime | None:
        """When extracts were loaded last; None where none ever was."""
        with self._database.transaction("last load of the EHR's extracts") as tx:
            return (tx.one(queries.load("clinical")["loaded_at"]) or {}).get("at")

    def known(self, patient_ids: Sequence[str]) -> frozenset[str]:
        """Which of these patients the EHR knows; raises as `facts`."""
        asked = {patient_id: rows.text(patient_id) for patient_id in patient_ids}
        with self._database.transaction("known patients") as tx:
            found = _known(tx, set(asked.values()))
            others = {kept: _surviving(tx, kept) for kept in set(asked.values()) - found}
            found |= {kept for kept, other in others.items() if other in _known(tx, set(others.values()))}
        return frozenset(patient_id for patient_id, kept in asked.items() if kept in found)


def _known(tx: Transaction, patient_ids: set[str]) -> set[str]:
    found = tx.all(queries.load("clinical")["known"], patient_ids=sorted(patient_ids)) if patient_ids else []
    return {row["patient_id"] for row in found}


def _surviving(tx: Transaction, patient_id: str) -> str:
    """The PatientID that a patient has since the merges that the RIS told of; as it is where there were none."""
    return surviving(merges_from(tx, [patient_id]), PatientIdentity(patient_id)).patient_id


def _age_years(birth: date, on: date) -> int | None:
    years = on.year - birth.year - ((on.month, on.day) < (birth.month, birth.day))
    return years if years >= 0 else None
