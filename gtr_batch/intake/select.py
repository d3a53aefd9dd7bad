"""Which series of a study is the portal venous one, by rules that name their evidence.

Every rule gives `Reason`s. A *refusing* reason takes a series out whatever else speaks for it; the others carry a
weight, and the series with the largest sum is chosen, provided that something (words, a delay or the pixels) says
portal venous. The weights and their sources are in ``docs/series-selection.md``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import field, frozen

from gtr_batch.config import ValidateConfig
from gtr_batch.domain.contrast import Phase
from gtr_batch.domain.series import SeriesEvidence
from gtr_batch.domain.staging import Flag
from gtr_batch.intake.evidence import Reason, judge, number_of, text_of

_QUALITY = frozenset({"thickness", "matrix", "kernel", "coverage"})  # what validation refuses with a code of its own
_PHASE = ("pixels", "outweighed", "delay", "words", "no evidence")  # what says of the phase, the most telling first


@frozen
class Selection:
    """The answer of `select_portal_venous`.

    `series_uid` is None where no series qualifies; then `reasons` is empty and `rejected` says why, series by series.
    `phase` is what is known of the chosen series' phase: ``portal_venous`` where the pixels or the delay show it,
    ``unknown`` where only words speak for it (`confirmed` is then False).
    """

    series_uid: str | None
    phase: Phase = Phase.UNKNOWN
    reasons: tuple[Reason, ...] = ()
    rejected: Mapping[str, tuple[Reason, ...]] = field(factory=dict)
    flags: tuple[Flag, ...] = ()

    @property
    def confirmed(self) -> bool:
        """Whether the pixels or the delay, and not words alone, show the phase."""
        return self.phase is Phase.PORTAL_VENOUS

    def sentence(self) -> str:
        """Why, in a sentence for the operator."""
        if self.series_uid is not None:
            unfit = "".join(f"; but {r.evidence}" for r in self.reasons if r.refuses)
            return (
                "Chosen as portal venous: " + "; ".join(r.evidence for r in self.reasons if r.weight > 0) + unfit + "."
            )
        if not self.rejected:
            return "The study has no CT series that could be portal venous."
        against = [r for reasons in self.rejected.values() for r in reasons if r.weight < 0 or r.refuses]
        telling = list(dict.fromkeys(r.evidence for r in sorted(against, key=_tells)))
        return f"None of {len(self.rejected)} series is portal venous: " + "; ".join(telling[:6]) + "."

    def numbers(self) -> dict[str, Any]:
        """Reasons per series as plain values."""
        return {
            "series": {
                uid: [{"rule": r.rule, "evidence": r.evidence, "weight": r.weight} for r in reasons]
                for uid, reasons in self.rejected.items()
            }
        }


def select_portal_venous(evidence: Sequence[SeriesEvidence], limits: ValidateConfig | None = None) -> Selection:
    """Choose the portal venous series of a study.

    Parameters
    ----------
    evidence : sequence of SeriesEvidence
        The probed candidates of one study, in any order: the answer does not depend on it.
    limits : ValidateConfig, optional
        Thickness, matrix, coverage and kernels that validation will demand; defaults as in the settings.

    Returns
    -------
    Selection

    Notes
    -----
    Where the only series that speak for the portal venous phase fail on thickness, matrix, kernel or coverage, the best
    of them is chosen all the same: validation then refuses it with that code and its numbers, which says more than
    "no portal venous series".

    Of series that speak equally for themselves, the one nearest to 3 mm thick wins, then the later acquisition, then
    the larger series number; at last the UID, so that the answer is the same every time.
    """
    limits = limits or ValidateConfig()
    judged = [(e, tuple(judge(e, limits))) for e in evidence]
    able, unfit, rejected = [], [], {}
    for item, reasons in judged:
        refusing = tuple(r for r in reasons if r.refuses)
        total = sum(r.weight for r in reasons)
        portal = _speaks_for_portal(reasons)
        if refusing:
            rejected[item.record.series_uid] = refusing
            if portal and all(r.rule in _QUALITY for r in refusing):
                unfit.append((total, item, reasons))
        elif not portal:
            rejected[item.record.series_uid] = _not_portal(reasons)
        else:
            able.append((total, item, reasons))
    able = able or unfit
    if not able:
        return Selection(None, rejected=rejected)
    able.sort(key=lambda a: (a[0], *_tie(a[1])), reverse=True)
    _, best, reasons = able[0]
    rejected.pop(best.record.series_uid, None)
    for total, item, _ in able[1:]:
        if item.record.series_uid in rejected:
            continue
        rejected[item.record.series_uid] = (
            Reason(
                "not the best",
                f"another series has more evidence ({total:g} against {able[0][0]:g})",
                total - able[0][0],
            ),
        )
    by_pixels = any(r.rule == "pixels" and r.weight >= 2 for r in reasons)
    by_delay = any(r.rule == "delay" and r.weight >= 2 for r in reasons)
    flags = []
    if not text_of(best.headers, "ContrastBolusAgent"):
        flags.append(Flag.CONTRAST_TAGS_ABSENT)
    phase = Phase.PORTAL_VENOUS if by_pixels or by_delay else Phase.UNKNOWN
    return Selection(best.record.series_uid, phase, reasons, rejected, tuple(flags))


def _tells(reason: Reason) -> tuple[int, str]:
    """What a refusal names first: the phase as it was seen, then what the series is, then the limits."""
    place = _PHASE.index(reason.rule) if reason.rule in _PHASE else len(_PHASE) + (reason.rule in _QUALITY)
    return place, reason.evidence


def _not_portal(reasons: Sequence[Reason]) -> tuple[Reason, ...]:
    """Why a series is not portal venous: what speaks against it, and what that outweighs."""
    against = tuple(r for r in reasons if r.weight < 0)
    of_phase = [r for r in reasons if r.rule in ("words", "delay", "pixels")]
    portal = [r for r in of_phase if r.weight > 0]
    if not any(r.weight >= 2 for r in portal):
        said = "nothing says portal venous: neither words, nor a delay, nor the pixels"
        return *against, Reason("no evidence", said, -1.0)
    other = [r for r in of_phase if r.weight < 0]
    said, outweighing = (" and ".join(f"{r.evidence} ({r.weight:+g})" for r in found) for found in (portal, other))
    total = sum(r.weight for r in of_phase)
    rest = tuple(r for r in against if r not in other)
    return Reason("outweighed", f"{said} is outweighed by {outweighing}", min(total, -1.0)), *rest


def _speaks_for_portal(reasons: Sequence[Reason]) -> bool:
    """Whether words, delay or pixels say portal venous, and the others of them do not outweigh it."""
    phase = [r.weight for r in reasons if r.rule in ("words", "delay", "pixels")]
    return any(w >= 2 for w in phase) and sum(phase) > 0


def _tie(item: SeriesEvidence) -> tuple[float, str, int, int, str]:
    h = item.headers
    thickness = number_of(h, "SliceThickness")
    return (
        -abs((thickness if thickness is not None else 5.0) - 3.0),
        text_of(h, "AcquisitionDate") + text_of(h, "AcquisitionTime"),
        int(number_of(h, "AcquisitionNumber") or 0),
        item.record.series_number or 0,
        item.record.series_uid,
    )
