"""In-memory ports that the product has no use for, one small class each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

from gtr_batch.domain.clinical import PatientFacts


class FakeClinicalSource:
    """`ClinicalSource` over facts by PatientID, said to hold on every date."""

    def __init__(self, facts: Mapping[str, PatientFacts] | None = None) -> None:
        self._facts = dict(facts or {})

    def facts(self, patient_id: str, study_uid: str, on: date) -> PatientFacts | None:
        return self._facts.get(patient_id)

    def known(self, patient_ids: Sequence[str]) -> frozenset[str]:
        return frozenset(patient_ids) & self._facts.keys()
