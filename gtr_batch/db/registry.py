"""The model registry in PostgreSQL: a change of state is the row of its history, one change at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gtr_batch.db import messages, queries, rows
from gtr_batch.db.canaries import note_canary
from gtr_batch.db.connection import Database, Transaction
from gtr_batch.domain.canary import CanaryEvent
from gtr_batch.domain.cohort import HoldoutLook, HoldoutOpening
from gtr_batch.domain.delivery import Predecessor
from gtr_batch.domain.lifecycle import (
    WITHDRAWN,
    ChampionEvent,
    Change,
    ModelRecord,
    RegisteredModel,
    RegistryEvent,
    ReportOfModel,
)
from gtr_batch.errors import GovernanceRefused

#: Documents that decide nothing, which the role of the nights may write.
_DESCRIBES = ("training_report", "model_card")


class PostgresRegistry:
    """Port `ModelRegistry`; what decides is written as the governor."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def register(
        self,
        version: str,
        manifest: Mapping[str, Any],
        folder: Path,
        *,
        by: str,
        why: str,
        cohort_digest: str | None = None,
        training: Mapping[str, Any] | None = None,
        canary: CanaryEvent | None = None,
    ) -> None:
        """Register as ``candidate``; the same version again changes nothing.

        `training`: its training report; `canary`: the one that it is registered with.
        """
        with self._database.transaction(f"registering model {version[:12]}") as tx:
            new = tx.one(
                _queries()["insert"],
                version=version,
                name=str(manifest.get("name", "")),
                manifest=rows.as_json(dict(manifest)),
                folder=str(folder),
                cohort_digest=cohort_digest or str(manifest.get("cohort_digest", "")),
            )
            if new is None:
                return
            _note(tx, Change(version, "register", None, "candidate"), by, why)
            if training:
                _attach(tx, version, "training_report", training, by)
            known = tx.one(_queries()["canary_is_known"], version=version) or {}
            if canary is not None and not known.get("known"):
                note_canary(tx, canary, by=by, why=why)

    def change(self, changes: Sequence[Change], *, champion: str | None, by: str, why: str) -> None:
        """Make these changes in one transaction, provided that `champion` is still the champion.

        Raises
        ------
        GovernanceRefused
            Somebody was faster: the champion, or a version's state, is not what it was; nothing is changed.
        """
        with self._database.governor.transaction("changing the registry") as tx:
            tx.one(_queries()["lock"])
            now = (tx.one(_queries()["champion"]) or {}).get("version")
            if now != champion:
                raise GovernanceRefused(
                    f"the champion is {_short(now)} by now, not {_short(champion)} as was shown: "
                    f"somebody changed the registry meanwhile; nothing is changed. Look again, then decide again"
                )
            for one in changes:
                state = (tx.one(_queries()["state"], version=one.version) or {}).get("state")
                if state != one.from_state:
                    raise GovernanceRefused(
                        f"model {_short(one.version)} is {state or 'not registered'} by now, not {one.from_state} as "
                        f"was shown; nothing is changed. Look again, then decide again"
                    )
                _note(tx, one, by, why)
                if one.to_state == WITHDRAWN:
                    messages.write_withdrawals(tx, one.version)

    def attach(self, version: str, kind: str, content: Mapping[str, Any], *, by: str) -> None:
        """Keep a document about a version; the kinds are those of the table."""
        database = self._database if kind in _DESCRIBES else self._database.governor
        with database.transaction(f"{kind} of model {version[:12]}") as tx:
            _attach(tx, version, kind, content, by)

    def document(self, version: str, kind: str) -> Mapping[str, Any] | None:
        """The newest document of a kind; None where there is none."""
        with self._database.transaction(f"{kind} of model {version[:12]}") as tx:
            row = tx.one(_queries()["document"], version=version, kind=kind)
        return None if row is None else dict(row["content"])

    def state(self, version: str) -> str | None:
        """candidate, shadow, champion, retired or withdrawn; None where it is not registered."""
        with self._database.transaction("model state") as tx:
            row = tx.one(_queries()["state"], version=version)
        return None if row is None else str(row["state"])

    def champion(self) -> str | None:
        """Version of the champion."""
        with self._database.transaction("champion") as tx:
            row = tx.one(_queries()["champion"])
        return None if row is None else str(row["version"])

    def model(self, version: str) -> ModelRecord:
        """A version with its manifest and training report; KeyError where it is not registered."""
        with self._database.transaction("model") as tx:
            row = tx.one(_queries()["get"], version=version)
        if row is None:
            raise KeyError(version)
        return ModelRecord(**row)

    def all(self) -> Sequence[RegisteredModel]:
        """All models, newest first."""
        with self._database.transaction("models") as tx:
            return [RegisteredModel(**row) for row in tx.all(_queries()["all"])]

    def history(self, version: str) -> Sequence[RegistryEvent]:
        """What became of a model, oldest first."""
        with self._database.transaction("model history") as tx:
            return [RegistryEvent(**row) for row in tx.all(_queries()["history"], version=version)]

    def champion_events(self) -> Sequence[ChampionEvent]:
        """Every event by which a champion came or went, oldest first."""
        with self._database.transaction("champions") as tx:
            return [ChampionEvent(**row) for row in tx.all(_queries()["champion_events"])]

    def reports(self, version: str) -> Sequence[ReportOfModel]:
        """Every structured report of a version and what became of it; see ``notices`` in ``registry.sql``."""
        with self._database.transaction("reports of a model") as tx:
            return [ReportOfModel(**row) for row in tx.all(_queries()["notices"], version=version)]

    def openings(self, cohort_digest: str) -> Sequence[HoldoutOpening]:
        """Each time the sealed holdout of a cohort was opened, for whatever model, oldest first."""
        with self._database.governor.transaction("holdout openings") as tx:
            return [HoldoutOpening(**row) for row in tx.all(_queries()["openings"], digest=cohort_digest)]

    def looks(self, cohort_digest: str) -> Sequence[HoldoutLook]:
        """Who looked at this holdout, or at one that shares a patient with it: each model once a holdout, in order."""
        with self._database.governor.transaction("holdout looks") as tx:
            return [HoldoutLook(**row) for row in tx.all(_queries()["looks"], digest=cohort_digest)]

    def save_gone(self, withdrawn_uid: str, version: str) -> None:
        """Note that the PACS has a report and its study no more; the same again changes nothing."""
        with self._database.governor.transaction("report that is gone") as tx:
            tx.run(_queries()["save_gone"], withdrawn_uid=withdrawn_uid, version=version)

    def save_notice(self, withdrawn_uid: str, version: str, notice_uid: str) -> None:
        """Note which withdrawal notice supersedes a report; the same again changes nothing."""
        with self._database.governor.transaction("withdrawal notice") as tx:
            tx.run(_queries()["save_notice"], withdrawn_uid=withdrawn_uid, version=version, notice_uid=notice_uid)

    def pictures(self, case_id: str, version: str) -> Sequence[Predecessor]:
        """What the PACS took of a case and model beside its structured reports."""
        with self._database.transaction("pictures of a report") as tx:
            found = tx.all(_queries()["pictures"], case_id=rows.key(case_id), version=version)
        return [Predecessor(**row) for row in found]

    def save_rejection(self, withdrawn_uid: str, version: str, rejection_uid: str) -> None:
        """Note which key object rejects a report; the same again changes nothing."""
        with self._database.governor.transaction("rejection") as tx:
            tx.run(
                _queries()["save_rejection"],
                withdrawn_uid=withdrawn_uid,
                version=version,
                rejection_uid=rejection_uid,
            )


def _note(tx: Transaction, change: Change, by: str, why: str) -> None:
    tx.run(
        _queries()["note"],
        version=change.version,
        action=change.action,
        from_state=change.from_state,
        to_state=change.to_state,
        by_whom=rows.text(by),
        why=rows.text(why),
    )


def _attach(tx: Transaction, version: str, kind: str, content: Mapping[str, Any], by: str) -> None:
    tx.run(_queries()["attach"], version=version, kind=kind, by_whom=by, content=rows.as_json(dict(content)))


def _short(version: str | None) -> str:
    return version[:12] if version else "none"


def _queries() -> dict[str, queries.Query]:
    return queries.load("registry")
