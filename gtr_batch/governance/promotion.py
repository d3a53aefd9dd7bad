"""Promotion and rollback: one person, one sentence, one transaction.

Everything is checked twice: here, to say in words what is wrong, and in the transaction, under the registry's lock, so
that of two sessions at once exactly one wins.
"""

from __future__ import annotations

from gtr_batch.domain.gate import Verdict
from gtr_batch.domain.lifecycle import (
    CHAMPION,
    MAY_BECOME,
    RETIRED,
    SHADOW,
    WITHDRAWN,
    Approval,
    Change,
    RegisteredModel,
    RegistryEvent,
)
from gtr_batch.errors import GovernanceRefused
from gtr_batch.governance.registry import answered_for, check_registered, gate_answer, known
from gtr_batch.logs import get_logger
from gtr_batch.ports import ModelRegistry

log = get_logger("governance")


def to_shadow(registry: ModelRegistry, version: str, *, by: str, why: str) -> None:
    """Let a candidate (or a retired model) stage beside the champion, unseen."""
    answered_for(by, why)
    model = check_registered(registry, version)
    _must(model, SHADOW)
    change = Change(version, "shadow", model.state, SHADOW)
    registry.change([change], champion=registry.champion(), by=by, why=why)


def retire(registry: ModelRegistry, version: str, *, by: str, why: str) -> None:
    """Take a candidate or a model in shadow out of use; it can come back. Its files need not be intact."""
    answered_for(by, why)
    model = known(registry, version)
    if model.state == CHAMPION:
        raise GovernanceRefused(f"model {version[:12]} is the champion: promote another, roll back, or withdraw it")
    _must(model, RETIRED)
    change = Change(version, "retire", model.state, RETIRED)
    registry.change([change], champion=registry.champion(), by=by, why=why)


def promote(registry: ModelRegistry, version: str, approval: Approval, *, without_gate: bool = False) -> None:
    """Make a version the champion and retire the one before it, in one transaction.

    Parameters
    ----------
    version : str
        What is to be promoted.
    approval : Approval
        What the person was shown and said yes to.
    without_gate : bool
        The approver decides although the gate could not tell, or was not asked against this champion. A gate that said
        ``fail`` is never overruled.

    Raises
    ------
    GovernanceRefused
        Approved was another version, or another champion to replace; approved already; the gate did not pass; the
        registry changed meanwhile. Nothing is changed.
    ModelArtefactError
        Its files are gone or changed; names the field.
    """
    answered_for(approval.by, approval.why)
    if approval.version != version:
        raise GovernanceRefused(
            f"{approval.by} approved model {_short(approval.version)}, which is not the one to be promoted "
            f"({_short(version)}); nothing is changed"
        )
    model = known(registry, version)
    if model.state == CHAMPION:
        last = _last(registry, version, CHAMPION)
        raise GovernanceRefused(
            f"model {_short(version)} is the champion already: {last.by_whom} approved it on "
            f"{last.at:%Y-%m-%d %H:%M} UTC; a second approval changes nothing"
        )
    _must(model, CHAMPION)
    champion = registry.champion()
    if approval.champion != champion:
        raise GovernanceRefused(
            f"{approval.by} was shown {_short(approval.champion)} as the champion to be replaced, by now it is "
            f"{_short(champion)}; nothing is changed. Look again, then decide again"
        )
    passed = gate_passed(registry, version, champion, without_gate=without_gate)
    check_registered(registry, version)
    changes = [Change(champion, "promote", CHAMPION, RETIRED)] if champion else []
    changes.append(Change(version, "promote", model.state, CHAMPION))
    why = approval.why if passed else f"{approval.why} (without a passed gate)"
    registry.change(changes, champion=champion, by=approval.by, why=why)
    log.info("model.promoted", model_version=version, before=champion, by=approval.by)


def rollback(registry: ModelRegistry, *, by: str, why: str, shown: str | None) -> str:
    """Bring back the champion before the present one, in one transaction; returns its version.

    Parameters
    ----------
    shown : str or None
        The champion that the person was shown as the one to be taken down.

    Raises
    ------
    GovernanceRefused
        There is nothing to go back to, or the champion is another by now. Nothing is changed.
    ModelArtefactError
        The files of the one before are gone or changed.
    """
    answered_for(by, why)
    champion = registry.champion()
    if champion != shown or champion is None:
        raise GovernanceRefused(
            f"rollback from {_short(shown)}: the champion is {_short(champion)}; nothing is changed. "
            + ("Name a successor with `gtr model promote`" if champion is None else "Look again, then decide again")
        )
    version = before(registry)
    if version is None:
        raise GovernanceRefused(
            f"rollback from {_short(champion)}: there is nothing to go back to, it is the first champion or all "
            f"before it are withdrawn; nothing is changed"
        )
    check_registered(registry, version)
    changes = [Change(champion, "rollback", CHAMPION, RETIRED), Change(version, "rollback", RETIRED, CHAMPION)]
    registry.change(changes, champion=champion, by=by, why=why)
    log.info("model.rolled_back", model_version=version, before=champion, by=by)
    return version


def before(registry: ModelRegistry) -> str | None:
    """The champion that a rollback would bring back; None where there is none.

    Champions form a stack: a promotion puts one on top, a rollback takes one off. So a second rollback goes further
    back, and never returns to the model that the first one took down. Withdrawn ones are passed over.
    """
    stack: list[str] = []
    for event in registry.champion_events():
        if event.to_state == CHAMPION and event.action == "rollback":
            while stack and stack[-1] != event.version:
                stack.pop()
        elif event.to_state == CHAMPION:
            stack.append(event.version)
    champion = registry.champion()
    below = stack[:-1] if stack and stack[-1] == champion else stack
    return next((v for v in reversed(below) if v != champion and registry.state(v) == RETIRED), None)


def gate_passed(registry: ModelRegistry, version: str, champion: str | None, *, without_gate: bool = False) -> bool:
    """Refuse a version that the gate did not pass against this champion; returns whether it did."""
    gate = gate_answer(registry, version)
    if gate is not None and gate.verdict is Verdict.FAIL and gate.champion == champion:
        raise GovernanceRefused(
            f"the gate refused model {_short(version)} against {_short(champion)}; no approval overrules that"
        )
    passed = gate is not None and gate.verdict is Verdict.PASS and gate.champion == champion
    if passed or without_gate:
        return passed
    raise GovernanceRefused(
        f"model {_short(version)} has no passed gate against {_short(champion)} (verdict: "
        + (f"{gate.verdict or 'none'}, against {_short(gate.champion)}" if gate else "none")
        + "); promote it without one only where a person answers for that"
    )


def _must(model: RegisteredModel, to: str) -> None:
    state = model.state
    if to in MAY_BECOME[state]:
        return
    way = "a withdrawn model does not come back" if state == WITHDRAWN else f"from {state} it may become "
    way += "" if state == WITHDRAWN else ", ".join(MAY_BECOME[state])
    raise GovernanceRefused(f"model {_short(model.version)} is {state} and cannot become {to}: {way}")


def _last(registry: ModelRegistry, version: str, to: str) -> RegistryEvent:
    return [e for e in registry.history(version) if e.to_state == to][-1]


def _short(version: str | None) -> str:
    return version[:12] if version else "none"
