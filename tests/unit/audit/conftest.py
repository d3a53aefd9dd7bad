"""An audit's site: the real book of audits, cases and a registry in memory, and makers that a test can follow."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import attrs
import pytest
from attrs import define, field

from gtr_batch.audit.run import Makers
from gtr_batch.audit.site import AuditSite
from gtr_batch.config import AuditConfig, Config
from gtr_batch.db.audit import PostgresAuditBook
from gtr_batch.domain.audit import AuditCase
from gtr_batch.domain.audit_run import AlarmLevel, AuditInputs, known_by
from gtr_batch.domain.lifecycle import ChampionEvent, ModelRecord
from gtr_batch.domain.staging import TStage
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

    def crown(self, version: str, at: datetime, action: str = "promote") -> None:
        self.events.append(ChampionEvent(at, action, "candidate", "champion", "tester", "a test", version))

    def champion_events(self) -> Sequence[ChampionEvent]:
        return self.events

    def model(self, version: str) -> ModelRecord:
        manifest = {"name": "m", "reference": {"n": 80}, "metrics": {"n_validation": 30}}
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
        probabilities=(0.1, 0.2, 0.6, 0.1),
        facts={"model": "iCT 256", "kvp": 100},
    )
    return attrs.evolve(case, **changes)


def simple_makers(alarms: Sequence[tuple[str, AlarmLevel]] = (), answer: str = "look") -> Makers:
    """Findings that hold the inputs' size, two files, and these alarms at every run."""

    def compute(inputs: AuditInputs) -> dict[str, Any]:
        stages = [str(c.t_stage) for c in inputs.cases]
        headline = {"n": len(stages), "kappa": None}
        monitors = [
            {
                "name": name,
                "title": name,
                "state": "alarm",
                "level": str(level),
                "crossed_on": str(inputs.last),
                "since": str(inputs.epochs[name]),
                "sentence": f"{name} crossed.",
                "value": 9.0,
                "threshold": 5.0,
            }
            for name, level in alarms
        ]
        said = {"answer": answer, "reasons": ["a test"], "headline": headline, "monitors": monitors}
        return {**said, "stages": stages, "was": inputs.previous}

    def write(findings: Mapping[str, Any], folder: Path) -> dict[str, Path]:
        paths = {name: folder / name for name in ("report.html", "report.json")}
        paths["report.html"].write_text(f"<p>{findings['answer']}</p>")
        paths["report.json"].write_text(json.dumps(findings))  # in the order of its keys, as it is
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
    return AuditSite(config, audit_source, PostgresAuditBook(database), champion_events, FakeClock())
