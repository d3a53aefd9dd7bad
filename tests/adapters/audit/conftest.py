"""An audit's site: the real book of audits, cases and a registry in memory, and makers that a test can follow."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import attrs
import pytest
from attrs import define, field

from gtr_batch.audit.findings import compute as compute_findings
from gtr_batch.audit.found.filed import findings_to_json, headline_from
from gtr_batch.audit.found.findings import Answer, Findings
from gtr_batch.audit.found.performance import Headline
from gtr_batch.audit.monitors.watched import Watched
from gtr_batch.audit.run import Makers
from gtr_batch.audit.site import AuditSite
from gtr_batch.config import AuditConfig, Config
from gtr_batch.db.audit import PostgresAuditBook
from gtr_batch.domain.audit import AuditCase
from gtr_batch.domain.audit_run import AlarmLevel, AuditInputs, known_by
from gtr_batch.domain.lifecycle import ChampionEvent, ModelRecord
from gtr_batch.domain.staging import StageProbabilities, TStage
from gtr_batch.night.absent import NoSettingsHistory
from tests.audit_builder import hand_made
from tests.fixtures_db import *  # noqa: F403

MODEL, SUCCESSOR = "a" * 64, "b" * 64


@define
class FakeAuditSource:
    """`AuditSource` over a list."""

    held: list[AuditCase] = field(factory=list)

    def cases(self, since: date, until: date, as_of: date) -> list[AuditCase]:
        found = [known_by(c, as_of) for c in self.held if since <= c.night <= until]
        return sorted(found, key=lambda c: (c.night, c.case_id))

    def first_night(self, model_version: str) -> date | None:
        return min((c.night for c in self.held if c.model_version == model_version), default=None)


@define
class FakeTerms:
    """What the audit asks of `ModelRegistry`."""

    events: list[ChampionEvent] = field(factory=list)
    gates: dict[str, Any] = field(factory=dict)
    metrics: dict[str, Any] = field(factory=lambda: {"n_validation": 30})

    def crown(self, version: str, at: datetime, action: str = "promote") -> None:
        self.events.append(ChampionEvent(at, action, "candidate", "champion", "tester", "a test", version))

    def champion_events(self) -> Sequence[ChampionEvent]:
        return self.events

    def model(self, version: str) -> ModelRecord:
        manifest = {"name": "m", "reference": {"n": 80}, "metrics": self.metrics}
        at = datetime(2026, 1, 1, tzinfo=UTC)
        return ModelRecord(version, "m", "champion", "m", "", at, at, manifest, {})

    def document(self, version: str, kind: str) -> Mapping[str, Any] | None:
        return self.gates.get(version) if kind == "gate" else None


@define
class FakeClock:
    """Stands still."""

    at: datetime = datetime(2026, 4, 5, 6, tzinfo=UTC)

    def now(self) -> datetime:
        return self.at


def a_staged(number: int, night: date, **changes: Any) -> AuditCase:
    """A staged case of a patient of its own."""
    case = AuditCase(
        case_id=f"00000000-0000-5000-8000-{number:012d}",
        subject=f"{number:032x}",
        night=night,
        study_on=night,
        model_version=MODEL,
        t_stage=TStage.T3,
        probabilities=StageProbabilities((0.1, 0.2, 0.6, 0.1)),
        facts={"model": "iCT 256", "kvp": 100},
    )
    return attrs.evolve(case, **changes)


@lru_cache(maxsize=1)
def nothing_found() -> Findings:
    """What a month without cases finds."""
    return compute_findings(hand_made([]))


def simple_makers(alarms: Sequence[tuple[str, AlarmLevel]] = (), answer: Answer = "look") -> Makers:
    """Findings that hold the inputs' size, two files, and these alarms at every run."""

    def compute(inputs: AuditInputs) -> Findings:
        empty = nothing_found()
        assert empty.month is not None  # it is a month's
        monitors = tuple(
            Watched(
                name,
                name,
                "alarm",
                level,
                inputs.watching_since[name],
                inputs.last,
                9.0,
                5.0,
                (),
                f"{name} crossed.",
                "",
            )
            for name, level in alarms
        )
        return attrs.evolve(
            empty,
            answer=answer,
            reasons=("a test",),
            headline=Headline(n=len(inputs.cases)),
            monitors=monitors,
            not_judged=tuple(str(c.t_stage) for c in inputs.cases),  # in their order, so that it shows in the file
            month=attrs.evolve(empty.month, previous=headline_from(inputs.previous)),
        )

    def write(findings: Findings, folder: Path) -> dict[str, Path]:
        paths = {name: folder / name for name in ("report.html", "report.json")}
        paths["report.html"].write_text(f"<p>{findings.answer}</p>")
        paths["report.json"].write_text(json.dumps(findings_to_json(findings)))  # in the order of its keys, as it is
        return paths

    return Makers(compute, write)


@pytest.fixture
def champion_events() -> FakeTerms:
    made = FakeTerms()
    made.crown(MODEL, datetime(2026, 1, 10, 9, tzinfo=UTC))
    return made


@pytest.fixture
def audit_source() -> FakeAuditSource:
    return FakeAuditSource([a_staged(k, date(2026, 2 + k // 20, 1 + k % 20)) for k in range(40)])


@pytest.fixture
def audit_site(database, champion_events, audit_source, tmp_path) -> AuditSite:
    config = attrs.evolve(Config(), audit=AuditConfig(folder=tmp_path / "audit"))
    return AuditSite(
        config, audit_source, PostgresAuditBook(database), champion_events, FakeClock(), NoSettingsHistory()
    )
