"""The life of a model version: candidate -> shadow -> champion -> retired | withdrawn."""

from __future__ import annotations

from attrs import frozen

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
