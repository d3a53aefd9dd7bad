"""What a challenger said of a case beside the champion: kept apart, never reported."""

from __future__ import annotations

from datetime import date

from attrs import field, frozen

from gtr_batch.domain.staging import StageProbabilities, TStage


@frozen
class ShadowAnswer:
    """A challenger's answer to a case, or why it has none (`error`; `t_stage` is then None).

    `champion_stage` is what the champion of that night said. `probabilities` are the challenger's, where they were
    asked for and it has an answer.
    """

    model_version: str
    champion_version: str
    case_id: str = field(converter=str)
    night: date
    t_stage: TStage | None = field(converter=lambda stage: None if stage is None else TStage(stage))
    champion_stage: TStage = field(converter=TStage)
    error: str | None = None
    probabilities: StageProbabilities | None = field(
        default=None, converter=lambda four: None if four is None else StageProbabilities(four)
    )


@frozen
class ShadowCount:
    """How long a model has staged in shadow: nights and cases with an answer, and cases without one."""

    nights: int = 0
    cases: int = 0
    errors: int = 0
