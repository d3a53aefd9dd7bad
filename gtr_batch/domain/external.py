"""What a model does on another hospital's patients, as it is kept with the model; no patient in it."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from gtr_batch.domain.gate import Judgement, ModelPerformance


@frozen
class ExternalEvaluation:
    """A model on the labelled series of another hospital.

    Of `series` that were labelled `staged` were, of `patients` people; `not_staged` counts the others by refusal code,
    `key_slices` the staged ones by where the key slice came from. `performance` is the model's own, `gate` what the
    gate would say of it against `champion` on the same series; None where the model is the champion, or there is none.
    """

    name: str
    model_version: str
    series: int
    staged: int
    patients: int
    not_staged: Mapping[str, int]
    key_slices: Mapping[str, int]
    performance: ModelPerformance
    champion: str
    gate: Judgement | None
    labels_sha256: str
    code_version: str
    evaluated: str
    by: str


@frozen
class ExternalEvaluations:
    """All of a model, in the order in which they were made; a name stands once."""

    cohorts: tuple[ExternalEvaluation, ...] = ()

    def with_one(self, one: ExternalEvaluation) -> ExternalEvaluations:
        """These and another, which takes the place of one of its name."""
        return ExternalEvaluations((*(kept for kept in self.cohorts if kept.name != one.name), one))
