"""What the steps found out of a case, and what the PACS said of it, in PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gtr_batch.db import queries, rows
from gtr_batch.db.connection import Database
from gtr_batch.domain.clinical import Covariates
from gtr_batch.domain.delivery import Commitment, ObjectKind, ReportObject, StoreReceipt
from gtr_batch.domain.score import NomogramScore
from gtr_batch.domain.staging import CaseStaging


class CaseResults:
    """The half of `PostgresCaseBook` that holds results; the other half holds nights, cases and states."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def staged_before(self, series_uids: Sequence[str], model_version: str) -> frozenset[str]:
        """Which of these series already have a result (staged or beyond) of this model version."""
        with self._database.transaction("staged_before") as tx:
            found = tx.all(_results()["staged_before"], series_uids=list(series_uids), model_version=model_version)
        return frozenset(row["series_uid"] for row in found)

    def save_staging(self, case_id: str, staging: CaseStaging) -> None:
        """Upsert the case's staging and its slices; it is the one the case carries from now on."""
        key = {"case_id": rows.key(case_id), "model_version": staging.model_version}
        with self._database.transaction(f"staging of case {case_id}") as tx:
            rows.found(tx.one(_results()["lock"], case_id=rows.key(case_id)), case_id)
            tx.run(
                _results()["save_staging"],
                **key,
                t_stage=str(staging.t_stage),
                **rows.columns_of(staging.probabilities),
                key_slice_source=str(staging.key_slice_source),
                flags=[str(f) for f in staging.flags],
            )
            tx.run(_results()["clear_slices"], **key)
            for position, one in enumerate(staging.slices):
                tx.run(
                    _results()["save_slice"],
                    **key,
                    position=position,
                    role=one.role,
                    sop_instance_uid=one.sop_instance_uid,
                    t_stage=str(one.t_stage),
                    **rows.columns_of(one.probabilities),
                )
            tx.run(_results()["carry"], **key)

    def staging(self, case_id: str) -> CaseStaging | None:
        """What `save_staging` wrote last."""
        with self._database.transaction("staging") as tx:
            row = tx.one(_results()["staging"], case_id=rows.key(case_id))
            if row is None:
                return None
            slices = tx.all(_results()["slices"], case_id=case_id, model_version=row["model_version"])
        return rows.staging_of(row, slices)

    def save_facts(self, case_id: str, facts: Mapping[str, Any]) -> None:
        """Upsert what validation measured of the series."""
        with self._database.transaction(f"facts of case {case_id}") as tx:
            rows.found(tx.one(_results()["lock"], case_id=rows.key(case_id)), case_id)
            tx.run(_results()["save_facts"], case_id=case_id, facts=rows.as_json(dict(facts)))

    def facts(self, case_id: str) -> Mapping[str, Any] | None:
        """What `save_facts` wrote."""
        with self._database.transaction("facts") as tx:
            row = tx.one(_results()["facts"], case_id=rows.key(case_id))
        return None if row is None else row["facts"]

    def save_features(self, case_id: str, model_version: str, features: np.ndarray, logits: np.ndarray) -> None:
        """Upsert the key slice's features and the three slices' logits; ValueError where nothing is staged."""
        with self._database.transaction(f"features of case {case_id}") as tx:
            rows.found(tx.one(_results()["lock"], case_id=rows.key(case_id)), case_id)
            if tx.one(_results()["result_of"], case_id=case_id, model_version=model_version) is None:
                raise ValueError(f"case {case_id} has no staging of this model that features could belong to")
            tx.run(
                _results()["save_features"],
                case_id=case_id,
                model_version=model_version,
                features=np.asarray(features, np.float32).ravel().tolist(),
                logits=np.asarray(logits, np.float32).reshape(12).tolist(),
            )

    def features(self, case_id: str, model_version: str) -> tuple[np.ndarray, np.ndarray] | None:
        """What `save_features` wrote."""
        with self._database.transaction("features") as tx:
            row = tx.one(_results()["features"], case_id=rows.key(case_id), model_version=model_version)
        if row is None:
            return None
        return np.array(row["features"], np.float32), np.array(row["logits"], np.float32).reshape(3, 4)

    def save_score(self, case_id: str, score: NomogramScore, covariates: Covariates) -> None:
        """Upsert the nomogram's answer and what it was computed from; ValueError where nothing is staged."""
        with self._database.transaction(f"score of case {case_id}") as tx:
            rows.found(tx.one(_results()["lock"], case_id=rows.key(case_id)), case_id)
            staged = tx.one(_results()["staging"], case_id=case_id)
            if staged is None:
                raise ValueError(f"case {case_id} has no staging that a score could belong to")
            tx.run(
                _results()["save_score"],
                case_id=case_id,
                model_version=staged["model_version"],
                coefficients=score.coefficients,
                rad_score_sd=float(score.rad_score),
                rad_score_clipped=bool(score.rad_score_clipped),
                linear_predictor=float(score.linear_predictor),
                points=rows.as_json(score.points),
                **rows.columns_of(score.probabilities),
                low=[float(p) for p in score.low],
                high=[float(p) for p in score.high],
                missing=list(score.missing),
                tumour_size_cm=None if covariates.tumour_size_cm is None else float(covariates.tumour_size_cm),
                differentiation=None if covariates.differentiation is None else str(covariates.differentiation),
                lauren=None if covariates.lauren is None else str(covariates.lauren),
            )

    def score(self, case_id: str) -> NomogramScore | None:
        """What `save_score` wrote for the staging that the case carries."""
        with self._database.transaction("score") as tx:
            row = tx.one(_results()["score"], case_id=rows.key(case_id))
        return None if row is None else rows.score_of(row)

    # Delivery

    def save_objects(self, case_id: str, objects: Sequence[ReportObject]) -> None:
        """Upsert the objects that `report` wrote."""
        with self._database.transaction(f"objects of case {case_id}") as tx:
            rows.found(tx.one(_results()["lock"], case_id=rows.key(case_id)), case_id)
            for one in objects:
                tx.run(
                    _deliveries()["save_object"],
                    case_id=case_id,
                    kind=str(one.kind),
                    sop_class_uid=one.sop_class_uid,
                    sop_instance_uid=one.sop_instance_uid,
                    series_uid=one.series_uid,
                    file=one.file,
                    content_digest=one.content_digest,
                )

    def objects(self, case_id: str) -> list[ReportObject]:
        """The newest objects of a case, one a kind, in the order of `ObjectKind`."""
        with self._database.transaction("objects") as tx:
            found = {row["kind"]: row for row in tx.all(_deliveries()["objects"], case_id=rows.key(case_id))}
        return [ReportObject(**{**found[kind], "kind": kind}) for kind in ObjectKind if kind in found]

    def save_receipts(self, case_id: str, receipts: Sequence[StoreReceipt]) -> None:
        """Note what the PACS said of each C-STORE."""
        with self._database.transaction(f"receipts of case {case_id}") as tx:
            rows.found(tx.one(_results()["lock"], case_id=rows.key(case_id)), case_id)
            for one in receipts:
                tx.run(
                    _deliveries()["save_receipt"],
                    case_id=case_id,
                    sop_instance_uid=one.sop_instance_uid,
                    status=int(one.status),
                    warning=rows.text(one.warning),
                )

    def stored(self, case_id: str) -> frozenset[str]:
        """SOP Instance UIDs of this case that the PACS took, be it with a warning."""
        with self._database.transaction("stored") as tx:
            found = tx.all(_deliveries()["stored"], case_id=rows.key(case_id))
        return frozenset(row["sop_instance_uid"] for row in found)

    def save_commitment(self, case_id: str, commitment: Commitment, read_back: frozenset[str]) -> None:
        """Note what the PACS committed, or what C-FIND listed where it offers no commitment."""
        with self._database.transaction(f"commitment of case {case_id}") as tx:
            rows.found(tx.one(_results()["lock"], case_id=rows.key(case_id)), case_id)
            tx.run(
                _deliveries()["save_commitment"],
                case_id=case_id,
                transaction_uid=commitment.transaction_uid,
                offered=commitment.offered,
                committed=sorted(commitment.committed),
                failed=rows.as_json(dict(commitment.failed)),
                read_back=sorted(read_back),
            )


def _results() -> dict[str, queries.Query]:
    return queries.load("results")


def _deliveries() -> dict[str, queries.Query]:
    return queries.load("deliveries")
