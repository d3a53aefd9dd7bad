"""T stages, their probabilities and the vote of three slices."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from enum import StrEnum

from attrs import field, frozen

from gtr_batch.domain.abstention import Abstention


class TStage(StrEnum):
    """Clinical T category, AJCC 8th edition; T4a and T4b are one class (paper, Discussion)."""

    T1 = "T1"
    T2 = "T2"
    T3 = "T3"
    T4 = "T4"

    @property
    def position(self) -> int:
        """Position in the model's class order, 0 to 3."""
        return STAGES.index(self)


STAGES: tuple[TStage, ...] = (TStage.T1, TStage.T2, TStage.T3, TStage.T4)


class KeySliceSource(StrEnum):
    """Where the key slice came from, in order of preference (DESIGN section 4)."""

    KEY_OBJECT = "key_object_selection"
    EHR = "ehr_reference"
    SEGMENTATION = "segmentation"
    AUTOMATIC = "automatic"
    READER = "reader"  # found automatically, then confirmed or moved by a reader: of cohorts, never of a staging


class Flag(StrEnum):
    """What a reader must know beside the result."""

    TIE = "three_way_tie"
    VOTE_MEAN_DISAGREE = "vote_and_mean_disagree"
    NOMOGRAM_DISAGREES = "nomogram_disagrees"
    STAGE_OUTSIDE_SET = "stage_outside_set"
    AUTOMATIC_KEY_SLICE = "automatic_key_slice"
    KEY_SLICE_UNCERTAIN = "key_slice_uncertain"
    STAGE_VARIES = "stage_varies_nearby"
    SEVERAL_KEY_SLICES = "several_key_slices"
    KEY_SLICES_APART = "key_slices_apart"
    MISSING_COVARIATES = "missing_covariates"
    NO_NOMOGRAM = "nomogram_not_available"
    MISSING_ATTACHMENTS = "missing_attachments"
    CONTRAST_TAGS_ABSENT = "contrast_tags_absent"
    PHASE_FROM_WORDS = "phase_from_words_alone"
    SLICE_ORDER = "slice_order_unclear"
    PHASE_UNCLEAR = "phase_unclear"
    NO_STORAGE_COMMITMENT = "no_storage_commitment"
    NOT_CALIBRATED = "not_calibrated_here"
    DEMO_MODEL = "demo_model_not_for_patients"


@frozen
class FlagMeaning:
    """What one flag is called: in the report under our coding scheme, and in `words` for tables, pages and the overlay.

    `on_overlay`: whether the picture says it; what a picture of every case would say, or says elsewhere, it does not.
    """

    coded_value: str
    meaning: str
    words: str
    on_overlay: bool = True


FLAG_MEANINGS: Mapping[Flag, FlagMeaning] = {
    Flag.TIE: FlagMeaning("three_way_tie", "Three slices voted for three stages", "three-way tie of the slices"),
    Flag.VOTE_MEAN_DISAGREE: FlagMeaning(
        "vote_vs_mean", "Vote and mean probabilities disagree", "vote and mean probabilities disagree"
    ),
    Flag.NOMOGRAM_DISAGREES: FlagMeaning(
        "nomogram_differs", "The nomogram's most likely stage differs", "nomogram disagrees"
    ),
    Flag.STAGE_OUTSIDE_SET: FlagMeaning(
        "outside_set", "The stage lies outside the set of likely stages", "stage outside the set of likely stages"
    ),
    Flag.AUTOMATIC_KEY_SLICE: FlagMeaning(
        "auto_key_slice", "Key slice found automatically", "key slice chosen automatically"
    ),
    Flag.KEY_SLICE_UNCERTAIN: FlagMeaning(
        "slice_uncertain", "Automatic key slice uncertain", "automatic key slice uncertain"
    ),
    Flag.STAGE_VARIES: FlagMeaning(
        "stage_varies", "Stage changes within two slices of the key slice", "stage changes within two slices"
    ),
    Flag.SEVERAL_KEY_SLICES: FlagMeaning(
        "several_marks", "Several slices marked as the key slice", "several key slices marked"
    ),
    Flag.KEY_SLICES_APART: FlagMeaning(
        "marks_apart", "Marks of the key slice lie more than 3 cm apart", "marks of the key slice over 3 cm apart"
    ),
    Flag.MISSING_COVARIATES: FlagMeaning("no_covariates", "Clinical covariates missing", "clinical covariates missing"),
    Flag.NO_NOMOGRAM: FlagMeaning(
        "no_nomogram", "Nomogram not available for this model", "nomogram not available for this model", False
    ),
    Flag.MISSING_ATTACHMENTS: FlagMeaning(
        "no_attachments",
        "Key objects or outlines of the study not read",
        "key objects or outlines of the study not read",
    ),
    Flag.CONTRAST_TAGS_ABSENT: FlagMeaning(
        "no_contrast_tags", "Contrast phase not documented in the headers", "contrast tags absent"
    ),
    Flag.PHASE_FROM_WORDS: FlagMeaning(
        "phase_by_words", "Portal venous phase by description alone", "phase known by the description alone"
    ),
    Flag.SLICE_ORDER: FlagMeaning(
        "slice_order", "Instance numbers do not follow the slices' places", "instance numbers in no order"
    ),
    Flag.PHASE_UNCLEAR: FlagMeaning(
        "phase_unclear", "Pixels between two contrast phases", "contrast phase not clear from the pixels"
    ),
    Flag.NO_STORAGE_COMMITMENT: FlagMeaning(
        "no_commitment", "The PACS offers no storage commitment", "no storage commitment by the PACS", False
    ),
    Flag.NOT_CALIBRATED: FlagMeaning(
        "not_calibrated", "Probabilities not calibrated for this hospital", "not calibrated here", False
    ),
    Flag.DEMO_MODEL: FlagMeaning("demo_model", "Demo model, not for patients", "demo model, not for patients", False),
}


@frozen
class StageProbabilities:
    """P(T1), P(T2), P(T3), P(T4); finite, in [0, 1], summing to 1 within 1e-4."""

    values: tuple[float, float, float, float] = field(converter=lambda v: tuple(float(x) for x in v))

    def __attrs_post_init__(self) -> None:
        v = self.values
        if len(v) != 4 or not all(math.isfinite(x) and -1e-9 <= x <= 1 + 1e-9 for x in v) or abs(sum(v) - 1) > 1e-4:
            raise ValueError(f"not four probabilities summing to 1: {v}")

    def __getitem__(self, stage: TStage) -> float:
        return self.values[stage.position]

    @property
    def most_likely(self) -> TStage:
        """The stage with the largest probability; the lower stage on an exact tie."""
        return STAGES[max(range(4), key=lambda i: self.values[i])]


@frozen
class StageSet:
    """Neighbouring stages from `lowest` to `highest` that hold the true one with probability `coverage`."""

    lowest: TStage
    highest: TStage
    coverage: float

    def __attrs_post_init__(self) -> None:
        if self.lowest.position > self.highest.position or not 0 < self.coverage < 1:
            raise ValueError(f"not a set of neighbouring stages: {self.lowest} to {self.highest}, {self.coverage}")

    def __contains__(self, stage: TStage) -> bool:
        return self.lowest.position <= stage.position <= self.highest.position

    def __len__(self) -> int:
        return self.highest.position - self.lowest.position + 1

    def __str__(self) -> str:
        stages = self.lowest if self.lowest is self.highest else f"{self.lowest}-{self.highest}"
        return f"{stages} ({100 * self.coverage:g}%)"


@frozen
class SliceStaging:
    """One slice's answer."""

    sop_instance_uid: str
    role: str  # "below" | "key" | "above"
    t_stage: TStage  # argmax of this slice
    probabilities: StageProbabilities  # calibrated


@frozen
class CaseStaging:
    """A case's answer: majority vote of three slices and mean calibrated probabilities.

    Where the model has no business answering, `abstention` says why, and there is neither stage nor probability; what
    its slices' own answers are stays with them, for those who judge the model, and is shown to no reader.
    """

    t_stage: TStage | None
    probabilities: StageProbabilities | None
    slices: tuple[SliceStaging, ...]
    key_slice_source: KeySliceSource
    model_version: str  # SHA-256 digest of the artefact
    flags: tuple[Flag, ...] = ()
    stage_set: StageSet | None = None  # None: the model has no threshold for one
    abstention: Abstention | None = None

    def __attrs_post_init__(self) -> None:
        if len({self.t_stage is None, self.probabilities is None, self.abstention is not None}) != 1:
            raise ValueError("a staging has either a stage with its probabilities, or a reason why it has none")


def vote(slices: Sequence[StageProbabilities]) -> tuple[TStage, StageProbabilities, tuple[Flag, ...]]:
    """Majority vote over the slices' most likely stages.

    A tie for the most votes (three slices, three stages) goes to the tied stage with the largest summed
    probability and is flagged; so is a vote that differs from the most likely stage of the mean.

    Parameters
    ----------
    slices : sequence of StageProbabilities
        Calibrated probabilities, usually of three slices.

    Returns
    -------
    stage, mean probabilities, flags

    References
    ----------
    Paper, Methods: "aggregating the model outputs of these three slices through a majority-voting strategy".
    """
    if not slices:
        raise ValueError("no slices to vote")
    mean = StageProbabilities(tuple(sum(s.values[i] for s in slices) / len(slices) for i in range(4)))
    votes = {stage: sum(s.most_likely is stage for s in slices) for stage in STAGES}
    most = max(votes.values())
    leading = [stage for stage in STAGES if votes[stage] == most]
    winner = max(leading, key=lambda stage: mean[stage])
    flags = []
    if len(leading) > 1:
        flags.append(Flag.TIE)
    if winner is not mean.most_likely:
        flags.append(Flag.VOTE_MEAN_DISAGREE)
    return winner, mean, tuple(flags)
