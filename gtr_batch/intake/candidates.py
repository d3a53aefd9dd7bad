"""Which series of a study deserve a probe."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gtr_batch.domain.series import SeriesRecord
from gtr_batch.intake.words import Said, fold, monoenergetic, read

MOST_PROBED = 6
FEWEST_INSTANCES = 20

# Words that name something else than an axial soft-tissue series of the abdomen; folded text.
_OTHER = re.compile(
    r"localiz|localis|scout|topogram|surview|scanogram|\bdose (rep|info|sum|rec)\w*|^dose\b|dosis"
    r"|protocol page|patient protocol|screen ?(save|shot)|secondary capt|summary|\bmpr\b|\bcor(onal)?\b|\bsag(ittal)?\b"
    r"|\bmip\b|minip"
    r"|\b3d\b|\bvrt?\b"
    r"|volume rend|reformat"
    r"|curved|\bcpr\b|lung|pulmo|poumon|lunge|\bbone\b|knochen|\bhrct\b|premonitor|monitoring|smart ?prep|bolus ?track"
    r"|test ?bolus|tracker|perfusion|\bkey im|iodine|virtual|\bvnc\b|fusion|calcium"
    r"|定位|肺|骨窗|冠状|矢状"
)
_OTHER_BODY = re.compile(r"^(head|brain|skull|neck|ear|sinus|jaw|hand|foot|knee|ankle|elbow|shoulder|extremity|leg)")
_ABDOMEN = re.compile(r"abd|stomach|gastr|liver|hepat|bauch|腹|胃|肝")


def candidates(
    series: Sequence[SeriesRecord], *, most: int = MOST_PROBED, fewest_instances: int = FEWEST_INSTANCES
) -> list[SeriesRecord]:
    """The series of a study that deserve a probe, the most promising first, at most `most` of them.

    Leaves out what is not CT, what the PACS says is too short, and what its words say is no axial soft-tissue series.
    An empty description never excludes: de-identified and ad hoc series have none.

    Parameters
    ----------
    series : sequence of SeriesRecord
        All series of one study.
    most : int
        How many to probe at most; the others are left to chance only where a study has more than that of equal promise.
    fewest_instances : int
        Below this a series cannot cover a stomach; a series whose count the PACS does not tell stays.
    """
    kept = [s for s in series if not _excluded(s, fewest_instances)]
    return sorted(
        kept, key=lambda s: (-_promise(s), s.series_number if s.series_number is not None else 10**6, s.series_uid)
    )[:most]


def _excluded(record: SeriesRecord, fewest_instances: int) -> bool:
    if record.modality.strip().upper() != "CT":
        return True
    if record.instances is not None and record.instances < fewest_instances:
        return True
    return bool(_OTHER.search(fold(record.description)) or _OTHER_BODY.match(fold(record.body_part)))


def _promise(record: SeriesRecord) -> int:
    """Larger is better: phase words first, then region, then enough instances to cover an abdomen."""
    description = {w.says for w in read(record.description)}
    said = description or {w.says for w in read(record.protocol)}
    value = -20 if monoenergetic(record.description) else 0  # refused by name, if it is among those that are probed
    if Said.PORTAL_VENOUS in said:
        value += 8
    if Said.ENHANCED in said:
        value += 3
    if said & {Said.ARTERIAL, Said.DELAYED} and Said.PORTAL_VENOUS not in said:
        value -= 3
    if Said.UNENHANCED in said and Said.PORTAL_VENOUS not in said:
        value -= 5
    if _ABDOMEN.search(fold(f"{record.description} {record.protocol} {record.body_part}")):
        value += 2
    if record.instances is not None and 40 <= record.instances <= 600:
        value += 1
    return value
