"""What the console reads in PostgreSQL, as the role gtr_console; whose a case is, it does not see unnoted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from gtr_batch.db import queries, rows
from gtr_batch.db.connection import Database
from gtr_batch.domain.console import (
    ATTENTION,
    CaseReader,
    ConsoleAudit,
    ConsoleCase,
    ConsoleNight,
    ConsolePatient,
    WorklistFilter,
    WorklistPage,
    WorklistPlace,
)
from gtr_batch.domain.identity import PatientIdentity


class PostgresConsole:
    """Port `ConsoleBook`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def nights(self, most: int, before: date | None = None) -> Sequence[ConsoleNight]:
        """Nights that were opened, newest first."""
        with self._database.transaction("nights") as tx:
            return [ConsoleNight(**row) for row in tx.all(_queries()["nights"], before=before, most=most)]

    def opened_nights(self, most: int) -> Sequence[date]:
        """The nights that were opened, newest first, without what became of their cases."""
        with self._database.transaction("nights") as tx:
            return [row["night"] for row in tx.all(_queries()["opened_nights"], most=most)]

    def last_night(self) -> date | None:
        """The newest night with cases; None where there never was a night."""
        with self._database.transaction("last night") as tx:
            row = tx.one(_queries()["last_night"])
        return None if row is None else row["night"]

    def worklist(
        self,
        night: date,
        wanted: WorklistFilter,
        most: int,
        after: WorklistPlace | None = None,
        reader: CaseReader | None = None,
    ) -> WorklistPage:
        """A page of a night's cases in the order in which they are read."""
        with self._database.transaction("worklist") as tx:
            found = tx.all(
                _queries()["worklist"],
                night=night,
                stages=list(wanted.stages),
                outcomes=list(wanted.outcomes),
                flag=rows.text(wanted.flag),
                scanner=rows.text(wanted.scanner),
                read=wanted.read,
                attention=[str(flag) for flag in ATTENTION],
                **_for(reader),
                after_rank=after and after.rank,
                after_place=after and after.place,
                after_at=after and after.at,
                after_id=after and rows.key(after.case_id),
                most=most + 1,
            )
        cases, places = [], []
        for row in found[:most]:
            place = {name: row.pop(name) for name in ("rank", "place", "at")}
            cases.append(_case(row))
            places.append(WorklistPlace(case_id=cases[-1].case_id, **place))
        return WorklistPage(cases, places[-1] if len(found) > most else None)

    def choices(self, night: date, reader: CaseReader | None = None) -> tuple[Sequence[str], Sequence[str]]:
        """The scanners and the flags that occur in a night; not those of results that are withheld from the reader."""
        with self._database.transaction("choices of the worklist") as tx:
            row = tx.one(_queries()["choices"], night=night, **_for(reader)) or {"scanners": [], "flags": []}
        return row["scanners"], row["flags"]

    def stopped_cases(self, night: date, most: int, reader: CaseReader | None = None) -> Sequence[ConsoleCase]:
        """A night's cases that failed, wait, are held back, or were refused, in this order."""
        with self._database.transaction("cases of a night") as tx:
            return [_case(row) for row in tx.all(_queries()["failed"], night=night, most=most, **_for(reader))]

    def case(self, case_id: str, reader: CaseReader | None = None) -> ConsoleCase:
        """One case; KeyError where there is none."""
        with self._database.transaction("case") as tx:
            row = tx.one(_queries()["case"], case_id=rows.key(case_id), **_for(reader))
        return _case(rows.found(row, case_id))

    def others_of_patient(self, case_id: str, reader: CaseReader | None = None) -> Sequence[ConsoleCase]:
        """The patient's other cases, newest first."""
        with self._database.transaction("other cases of a patient") as tx:
            return [_case(row) for row in tx.all(_queries()["others"], case_id=rows.key(case_id), **_for(reader))]

    def patients(self, case_ids: Sequence[str], *, by: str, why: str) -> Mapping[str, ConsolePatient]:
        """Whose these cases are, by case; the audit trail has a row for each in the same transaction."""
        if not case_ids:
            return {}
        with self._database.transaction("patients of cases") as tx:
            found = tx.all(
                _queries()["patients"],
                case_ids=[rows.key(case_id) for case_id in case_ids],
                actor=rows.text(by)[:200],
                why=rows.text(why)[:2000],
            )
        return {row["case_id"]: _patient(row) for row in found}

    def in_the_pacs(self, case_id: str) -> frozenset[str]:
        """Instances of the case that the PACS took."""
        with self._database.transaction("objects in the PACS") as tx:
            found = tx.all(_queries()["stored"], case_id=rows.key(case_id))
        return frozenset(row["sop_instance_uid"] for row in found)

    def audits(self, most: int, before: str = "") -> Sequence[ConsoleAudit]:
        """Runs of the audit, newest first; those before the run `before` where it is named."""
        with self._database.transaction("audits") as tx:
            return [ConsoleAudit(**row) for row in tx.all(_queries()["audits"], before=rows.text(before), most=most)]


def _for(reader: CaseReader | None) -> dict[str, Any]:
    return {
        "reader": "" if reader is None else rows.text(reader.name),
        "own_stage_first": reader is not None and reader.own_stage_first,
    }


def _case(row: Mapping[str, Any]) -> ConsoleCase:
    """A case of `console_case`; without its answer, where that is withheld."""
    found = ConsoleCase(**row)
    return found.without_answer() if found.is_withheld else found


def _patient(row: Mapping[str, Any]) -> ConsolePatient:
    return ConsolePatient(PatientIdentity(row["patient_id"], row["issuer_of_patient_id"]), row["accession_number"])


def _queries() -> dict[str, queries.Query]:
    return queries.load("console")
