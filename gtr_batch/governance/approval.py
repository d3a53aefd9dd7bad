"""A person is asked and answers: what they see comes from the registry, and what is carried out is what was asked.

Neither question nor answer passes through a workflow's own variables. The question is kept before it is shown; the
answer is kept with the user whom the asking system authenticated; whoever carries it out reads both here.
"""

from __future__ import annotations

from collections.abc import Collection

from gtr_batch.access import refusals_noted
from gtr_batch.domain.approval import Answer, AskedQuestion, Decision, Question
from gtr_batch.domain.gate import Verdict
from gtr_batch.domain.model_json import from_json
from gtr_batch.domain.replay import Comparison
from gtr_batch.errors import ConfigError, GovernanceRefused
from gtr_batch.governance.registry import gate_verdict, known
from gtr_batch.governance.site import GovernanceSite


def ask(gov: GovernanceSite, decision: Decision, subject: str, *, asked_in: str, triggered_by: str) -> Question:
    """Keep the question whether this model may be promoted, or this replay sent; returns it with what is to be shown.

    Parameters
    ----------
    subject : str
        Model version, or digest of a comparison.
    asked_in : str
        DAG, run and task.
    triggered_by : str
        Who started the run; empty for a schedule.

    Raises
    ------
    ConfigError
        No person is named who may answer (`governance.approvers`).
    GovernanceRefused
        The gate refused the model or was not asked, or there is no such comparison: there is nothing to approve.
    """
    if not gov.night.config.governance.approvers:
        raise ConfigError(
            "governance.approvers is empty: name the users of Airflow who may approve, or whoever may answer "
            "a question of a DAG could"
        )
    question = _of_a_model(gov, subject) if decision is Decision.PROMOTE else _of_a_replay(gov, subject)
    champion, verdict, shown = question
    asked = Question(asked_in, decision, subject, champion, verdict, triggered_by, shown)
    gov.approvals.ask(asked)
    return asked


def answer(gov: GovernanceSite, asked_in: str, given: Answer) -> None:
    """Keep what the person said who was asked there.

    Raises
    ------
    GovernanceRefused
        Nobody was asked; the person is not one of `governance.approvers`; or they started the run themselves.
    """
    asked = _asked(gov, asked_in)
    question = str(asked.request_id)
    with refusals_noted(gov.night.trail, "approval.approve", "question", question, by=given.by_whom):
        _may_answer(asked, given, gov.night.config.governance.approvers)
    gov.approvals.answer(asked.request_id, given)


def approved(gov: GovernanceSite, decision: Decision, asked_in: str) -> tuple[AskedQuestion, Answer]:
    """What was asked there, and the yes of a person.

    Raises
    ------
    GovernanceRefused
        Nobody was asked, nobody has answered, or the answer was no, whatever the workflow says of its task.
    """
    with refusals_noted(gov.night.trail, f"{decision}.approved", "run", asked_in, by="gtr-batch"):
        asked = _asked(gov, asked_in)
        given = gov.approvals.answered(asked.request_id)
        if asked.decision is not decision or given is None or not given.approved:
            raise GovernanceRefused(f"{asked_in}: no named person has approved; nothing is changed")
    return asked, given


def _of_a_model(gov: GovernanceSite, version: str) -> tuple[str | None, str, str]:
    from gtr_batch.governance.evaluation import in_words

    known(gov.registry, version)
    gate = gate_verdict(gov.registry, version)
    if gate is None or gate.verdict is Verdict.FAIL:
        said = "was not asked about" if gate is None else "refused"
        raise GovernanceRefused(f"the gate {said} model {version[:12]}: there is nothing to approve")
    return gate.champion or None, str(gate.verdict), in_words(gate)


def _of_a_replay(gov: GovernanceSite, digest: str) -> tuple[None, str, str]:
    from gtr_batch.governance.restage import in_words

    kept = gov.restages.get(digest) if digest else None
    if kept is None:
        raise GovernanceRefused(f"not one comparison begins with {digest!r}: there is nothing to approve")
    return None, "", in_words(from_json(kept.comparison, Comparison))


def _asked(gov: GovernanceSite, asked_in: str) -> AskedQuestion:
    found = gov.approvals.newest(asked_in)
    if found is None:
        raise GovernanceRefused(f"{asked_in}: no person was asked; nothing is changed")
    return found


def _may_answer(asked: AskedQuestion, given: Answer, approvers: Collection[str]) -> None:
    if given.user_id not in approvers:
        raise GovernanceRefused(
            f"{asked.asked_in}: user {given.by_whom} is not one of governance.approvers; nothing is changed"
        )
    if asked.triggered_by.casefold() in (given.user_id.casefold(), given.by_whom.casefold()):
        raise GovernanceRefused(
            f"{asked.asked_in}: {given.by_whom} started this run and cannot approve it; nothing is changed. Let "
            "another of governance.approvers answer, after clearing the task"
        )
