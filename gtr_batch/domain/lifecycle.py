"""The life of a model version: candidate -> shadow -> champion -> retired | withdrawn."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any

from attrs import field, frozen

# As in sql/migrations/0014_model_registry.sql, which refuses every other change.
CANDIDATE, SHADOW, CHAMPION, RETIRED, WITHDRAWN = "candidate", "shadow", "champion", "retired", "withdrawn"
MAY_BECOME: dict[str, tuple[str, ...]] = {
    CANDIDATE: (SHADOW, CHAMPION, RETIRED, WITHDRAWN),
    SHADOW: (CHAMPION, RETIRED, WITHDRAWN),
    CHAMPION: (RETIRED, WITHDRAWN),
    RETIRED: (SHADOW, CHAMPION, WITHDRAWN),
    WITHDRAWN: (),
}


@frozen
class Change:
    """One change of state of one version.

    `action` is what a person did: register, adopt, shadow, promote, rollback, retire or withdraw. `from_state` is None
    for the first entry alone.
    """

    version: str
    action: str
    from_state: str | None
    to_state: str


@frozen
class Approval:
    """A person's yes to what was shown: this version, in the place of this champion.

    `by` is who answers for it, `why` what they said. Approving what is not the case any more approves nothing.
    """

    version: str
    champion: str | None
    by: str
    why: str


@frozen
class RegisteredModel:
    """A version as the registry lists it.

    `folder` holds its files; `cohort_digest` names the frozen cohort it was trained on, empty where it came from
    elsewhere; `changed_at` is when its state last changed.
    """

    version: str
    name: str
    state: str
    folder: Path = field(converter=Path)
    cohort_digest: str
    registered_at: datetime
    changed_at: datetime


@frozen
class ModelRecord(RegisteredModel):
    """A registered version with its documents: ``manifest.json``, and its training report, empty where there is none.

    The manifest is kept as it was registered; `gtr_batch.domain.model.ModelManifest.from_json` reads it.
    """

    manifest: Mapping[str, Any] = field(repr=False)
    training: Mapping[str, Any] = field(repr=False)


@frozen
class RegistryEvent:
    """What somebody did to a version, and why; `from_state` is None where it was registered."""

    at: datetime
    action: str
    from_state: str | None
    to_state: str
    by_whom: str
    why: str


@frozen
class ChampionEvent(RegistryEvent):
    """A version became the champion, or ceased to be."""

    version: str


@frozen
class ReportOfModel:
    """A structured report that a version produced, and what became of it.

    `stored`: the PACS has it. `superseded`: a later result of the case stands in its place. `notice_uid` is the notice
    that says that its model was withdrawn, None where none was written; `notice_stored`: the PACS has that notice.
    `gone`: study and report were deleted from the PACS, so that there is nothing to supersede. `rejection_stored`: the
    PACS has the key object that rejects it.
    """

    case_id: str = field(converter=str)
    night: date
    study_uid: str
    series_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    file: str
    content_digest: str
    first_written_at: datetime
    stored: bool
    superseded: bool
    notice_uid: str | None
    notice_stored: bool
    gone: bool = False
    rejection_stored: bool = False

    @property
    def stands(self) -> bool:
        """Whether the PACS has it and nothing later stands in its place."""
        return self.stored and not self.superseded and not self.gone

    def is_due(self, rejecting: bool) -> bool:
        """Whether a notice, or where the site wants one a rejection, has yet to reach the PACS."""
        return self.due or (rejecting and self.is_to_be_rejected)

    @property
    def is_to_be_rejected(self) -> bool:
        """Whether a rejection has yet to reach the PACS, where the site wants one."""
        return self.stands and not self.rejection_stored

    @property
    def due(self) -> bool:
        """Whether a notice has yet to reach the PACS, once its model is withdrawn."""
        return self.stands and not self.notice_stored


@frozen
class NoticesSent:
    """How many withdrawal notices the PACS took, how many it had already, and why others failed, by report UID.

    `gone`: reports that were deleted from the PACS with their studies; for them nothing is sent, now or later.
    """

    sent: int
    already: int
    failed: Mapping[str, str]
    gone: tuple[str, ...] = ()
