"""Cohorts in PostgreSQL: who could be in one, the frozen ones, and the sealed holdout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gtr_batch.db import queries, rows
from gtr_batch.db.connection import Database
from gtr_batch.domain.clinical import Covariates, Differentiation, Lauren
from gtr_batch.domain.cohort import Candidate, CohortManifest, Member, member_from_json, member_json
from gtr_batch.domain.staging import KeySliceSource


class PostgresCohorts:
    """Ports `CohortSource` and `CohortBook`, as the governor: the role of the nights must not learn who is sealed."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def candidates(self) -> list[Candidate]:
        """Every operated patient, once for each staged series, or once without; persons as keyed digests."""
        with self._database.governor.transaction("cohort candidates") as tx:
            return [_candidate(row) for row in tx.all(_queries()["candidates"])]

    def freeze(self, manifest: CohortManifest, holdout: Sequence[Member]) -> None:
        """Keep a cohort and seal its holdout, in one transaction; the same cohort again changes nothing."""
        with self._database.governor.transaction(f"freezing cohort {manifest.digest[:12]}") as tx:
            tx.run(
                _queries()["freeze"],
                digest=manifest.digest,
                manifest=rows.as_json(manifest.to_json()),
                holdout_digest=manifest.holdout_digest,
            )
            for member in holdout:
                tx.run(
                    _queries()["seal"],
                    digest=manifest.digest,
                    subject=member.subject,
                    member=rows.as_json(member_json(member)),
                )
                tx.run(_queries()["seal_subject"], subject=member.subject)

    def cohort(self, digest: str) -> CohortManifest:
        """A frozen cohort; KeyError where there is none."""
        with self._database.governor.transaction("cohort") as tx:
            row = tx.one(_queries()["cohort"], digest=digest)
        if row is None:
            raise KeyError(digest)
        return CohortManifest.from_json(row["manifest"])

    def sealed_subjects(self) -> frozenset[str]:
        """Who was ever in a holdout."""
        with self._database.governor.transaction("sealed subjects") as tx:
            return frozenset(row["subject"] for row in tx.all(_queries()["sealed_subjects"]))

    def trained_subjects(self) -> frozenset[str]:
        """Who was ever in a train or validation split."""
        with self._database.governor.transaction("trained subjects") as tx:
            return frozenset(row["subject"] for row in tx.all(_queries()["trained_subjects"]))

    def open_holdout(self, digest: str, model_version: str, by: str, why: str) -> list[Member]:
        """The sealed members, for a registered model; leaves a row that this role cannot change.

        Raises
        ------
        DatabaseRefused
            The model is not registered, there is no such cohort, or nobody and no reason is named.
        """
        doing = f"opening the holdout of cohort {digest[:12]} for model {model_version[:12]}"
        with self._database.governor.transaction(doing) as tx:
            found = tx.all(_queries()["open_holdout"], digest=digest, version=model_version, by_whom=by, why=why)
        return [member_from_json(row["member"]) for row in found]


def _candidate(row: Mapping[str, Any]) -> Candidate:
    return Candidate(
        subject=row["subject"],
        operated_on=row["operated_on"],
        reported_on=row["reported_on"],
        classification=row["classification"],
        t_category=row["t_category"],
        case_id=str(row["case_id"] or ""),
        study_uid=row["study_uid"] or "",
        series_uid=row["series_uid"] or "",
        study_on=row["study_on"],
        slices=row["slices"],
        key_slice_source=KeySliceSource(row["key_slice_source"]) if row["key_slice_source"] else None,
        scanner=row["scanner"] or "",
        treated_before_surgery=row["treated_before_surgery"],
        covariates=Covariates(
            row["size_cm"],
            Differentiation(row["differentiation"]) if row["differentiation"] else None,
            Lauren(row["lauren"]) if row["lauren"] else None,
        ),
        sex=row["sex"],
        age_years=row["age_years"],
        location=row["location"],
        markers=rows.markers_of(row),
    )


def _queries() -> dict[str, queries.Query]:
    return queries.load("cohorts")
