"""The demo of governance: a candidate is made, judged, approved, promoted and undone, through the real Airflow.

What a hospital would do in weeks, in one go: a night by last year's model; the retraining with its gate and its model
card; the candidate in shadow while a person thinks; the approval over Airflow's API, as its page sends it; a worse
candidate that the gate refuses; the next night by the new champion, with the worse one in shadow; a replay of the first
night, approved and sent; a rollback; a withdrawal with its notices in the PACS.

Last year's model is the demo's own with its last layer disturbed: the hospital needs something that can be bettered.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gtr_batch.domain.gate import GateVerdict
from gtr_batch.domain.lifecycle import CANDIDATE, Approval
from gtr_batch.errors import GovernanceRefused, PermanentError
from gtr_batch.simulation.demos.demo import ARTEFACT, Demo
from gtr_batch.simulation.demos.story import PERSON, Story
from gtr_batch.simulation.servers.airflow_stack import APPROVER

if TYPE_CHECKING:
    from gtr_batch.governance.site import GovernanceSite

# Twelve T4 patients cannot show that fewer than a tenth are staged lower. All other criteria are a hospital's.
SETTINGS = """
[governance]
t4_understaging_cap = 0.5
approvers = ["approver"]
"""
LAST_YEARS, WORSE = 1.5, 4.0  # how much the last layer is disturbed, in standard deviations of its weights
LOOKS_S = 3.0  # how long a person looks: an answer within a scheduler's heartbeat is asked for once more

TaskListener = Callable[[list[dict[str, Any]]], None]


def make_last_years_model(demo: Demo) -> None:
    """The model that the hospital has: `demo.artefact`."""
    from gtr_batch.simulation.hospital.blunt import blunted

    blunted(ARTEFACT, demo.artefact, amount=LAST_YEARS, name="last year's model")


def next_night(demo: Demo) -> date:
    """The night after the demo's."""
    return demo.night + timedelta(days=1)


def admit_next_night(demo: Demo) -> None:
    """Four eligible patients, one of each stage, for the night after."""
    from gtr_batch.domain.staging import STAGES, KeySliceSource
    from gtr_batch.simulation.hospital.hospital import Hospital, write_night
    from gtr_batch.simulation.hospital.patient import History

    night, hospital = next_night(demo), Hospital(2026)
    first = (night.toordinal() % 1000) * 1000
    given = {"history": History.ELIGIBLE, "key_slice": KeySliceSource.KEY_OBJECT}
    patients = [hospital.patient(first + k, night, k, true_stage=stage, **given) for k, stage in enumerate(STAGES)]
    write_night(patients, demo.folder / "dicom", demo.folder / "ehr")


def run_with_approval(
    demo: Demo,
    dag_id: str,
    conf: Mapping[str, Any],
    progress: TaskListener,
    *,
    meanwhile: Callable[[], None],
    timeout_s: float,
) -> str:
    """Trigger a DAG, do something else while it waits for a person, approve, wait for its end; returns its state."""
    assert demo.stack is not None  # the demo has started it
    run_id = demo.stack.trigger(dag_id, conf)
    end, asked, since = time.monotonic() + timeout_s, 0, 0.0  # `asked`: the try of the question that was answered
    while time.monotonic() < end:
        state = demo.stack.run_state(dag_id, run_id)
        tasks = demo.stack.task_instances(dag_id, run_id)
        progress(tasks)
        if state in ("success", "failed"):
            return state
        question = next((t for t in tasks if t["task_id"] == "approve" and t["state"] == "awaiting_input"), None)
        if question is None:
            since = time.monotonic()
        elif question["try_number"] > asked and time.monotonic() - since > LOOKS_S:
            if not asked:
                meanwhile()
            asked = int(question["try_number"])
            demo.stack.api(
                "PATCH",
                f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/approve/-1/hitlDetails",
                {"chosen_options": ["Approve"], "params_input": {"why": "the demo's person has looked at the card"}},
                APPROVER,
            )
        time.sleep(1)
    raise PermanentError(f"{dag_id} did not end within {timeout_s:.0f} s; see {demo.stack.url}")


def show_night(demo: Demo, story: Story) -> None:
    """What the champion staged."""
    from gtr_batch.wiring import open_governance

    with open_governance() as gov:
        summary = gov.night.nights.summary(demo.night) or {}
        staged = sum(summary.get("stages", {}).values())
        model = str(summary.get("model_version", ""))[:12]
        story.need(staged > 0, f"night {demo.night}: {staged} cases staged by last year's model {model}")


def think(demo: Demo, story: Story) -> None:
    """What a person does while the run waits: look at the gate, and let the candidate stage in shadow."""
    from gtr_batch import night as steps
    from gtr_batch.governance.promotion import to_shadow
    from gtr_batch.governance.registry import gate_verdict
    from gtr_batch.wiring import open_governance

    with open_governance() as gov:
        candidate = newest(gov)
        _show_gate(story, gate_verdict(gov.registry, candidate), "pass")
        to_shadow(gov.registry, candidate, by=PERSON, why="to see it beside the champion")
        ids = [c.case_id for c in gov.night.cases.of_night(demo.night)]
        steps.shadow(gov.night, demo.night, ids)
        rows = [r for r in gov.night.shadows.of_night(demo.night) if r.t_stage] if gov.night.shadows else []
        agree = sum(r.t_stage is r.champion_stage for r in rows)
        story.need(len(rows) > 0, f"in shadow the candidate staged {len(rows)} cases, {agree} as the champion did")


def _show_gate(story: Story, found: GateVerdict | None, wanted: str) -> None:
    if found is None:
        story.need(False, "gate: it was not asked")
        return
    story.need(found.verdict == wanted, f"gate: {found.verdict}. {found.sentence}")
    story.lines.extend(f"  {c.verdict:<12} {c.sentence}" for c in found.criteria)
    story.say(f"  {found.power.sentence}")


def show_promotion(demo: Demo, story: Story) -> str:
    """Who approved, and where the card lies; returns the new champion."""
    from gtr_batch.wiring import open_governance

    with open_governance() as gov:
        champion = gov.registry.champion() or ""
        history = gov.registry.history(champion)
        last = history[-1] if history else None
        story.need(
            last is not None and last.action == "promote" and last.by_whom == APPROVER,
            f"model {champion[:12]} is the champion, approved by "
            + (f"{last.by_whom}: {last.why}" if last else "nobody"),
        )
        card = gov.night.config.training.models / "cards" / champion / "card.html"
        story.need(card.is_file(), f"model card: {card}")
    return champion


def refuse_a_worse_one(demo: Demo, story: Story, champion: str) -> None:
    """A disturbed copy of the champion, as a candidate of the same cohort, comes before the same gate."""
    from gtr_batch.governance.evaluation import evaluate
    from gtr_batch.governance.promotion import promote, to_shadow
    from gtr_batch.governance.registry import register_artefact
    from gtr_batch.simulation.hospital.blunt import blunted
    from gtr_batch.wiring import open_governance, open_training

    folder = demo.folder / "worse"
    with open_governance() as gov, open_training() as training:
        good, models = gov.registry.model(champion), gov.night.config.training.models
        blunted(good.folder, folder, amount=WORSE, name="worse on purpose", seed=1)
        worse = register_artefact(
            gov.registry, models, folder, by=PERSON, why="to see it refused", cohort_digest=good.cohort_digest
        )
        _show_gate(story, evaluate(gov, training, worse, by=PERSON, why="to see it refused"), "fail")
        try:
            promote(gov.registry, worse, Approval(worse, champion, PERSON, "I like it"), without_gate=True)
        except GovernanceRefused as err:
            story.say(f"promotion of {worse[:12]} refused: {err}")
        story.need(gov.registry.champion() == champion, "the worse candidate is not the champion")
        to_shadow(gov.registry, worse, by=PERSON, why="to see it beside the champion all the same")


def show_next_night(demo: Demo, story: Story, champion: str) -> None:
    """That the night after the promotion was the new champion's, and what its summary says of the shadow."""
    from gtr_batch.wiring import open_governance

    night = next_night(demo)
    with open_governance() as gov:
        summary = gov.night.nights.summary(night) or {}
        staged = sum(summary.get("stages", {}).values())
        model = summary.get("model_version")
        story.need(
            staged > 0 and model == champion,
            f"night {night}: {staged} cases staged by the new champion {str(model)[:12]}",
        )
        found = summary.get("shadow", {})
        story.need(len(found) == 1, f"its summary has {len(found)} model in shadow")
        for version, both in found.items():
            story.say(f"  {version[:12]} in shadow: {both['agree']} of {both['cases']} as the champion")


def show_replay(demo: Demo, story: Story, version: str) -> None:
    """What the replay changed, and that the PACS has it."""
    from gtr_batch.wiring import open_governance

    with open_governance() as gov:
        rows = gov.registry.reports(version)
        stored = sum(row.stored for row in rows)
        story.need(0 < stored == len(rows), f"after the replay {stored} reports of the new champion are in the PACS")


def undo(demo: Demo, story: Story, version: str, folder: Path) -> None:
    """Roll back, withdraw, and supersede what the withdrawn model had said."""
    from gtr_batch.governance.card import rewrite_cards
    from gtr_batch.governance.promotion import rollback
    from gtr_batch.governance.withdrawal import affected, due_of, send_notices, withdraw
    from gtr_batch.simulation.demos.notices import look_at_notice
    from gtr_batch.wiring import open_governance

    with open_governance() as gov:
        before = rollback(gov.registry, by=PERSON, why="the demo rolls back", shown=version)
        story.need(gov.registry.champion() == before != version, f"rolled back to {before[:12]}")
        withdraw(gov.registry, version, by=PERSON, why="the demo withdraws it", shown=before)
        listed = affected(gov.registry, version)
        story.say(f"withdrawn: {version[:12]} had made {len(listed)} reports")
        story.lines.extend(f"  night {row.night}  {row.sop_instance_uid}" for row in listed)
        due = [row.sop_instance_uid for row in due_of(gov.night, listed)]
        sent = send_notices(gov.night, gov.registry, version, due)
        story.need(
            sent.sent == len(due) > 0 and not sent.failed,
            f"{sent.sent} of {len(due)} reports superseded in the PACS",
        )
        row = next(r for r in affected(gov.registry, version) if r.notice_stored)
        models = gov.night.config.training.models
        cards = rewrite_cards(gov.registry, models, [version, before], by=PERSON)
        story.say(f"model card, now that it is withdrawn: {cards[0]}")
        for holds, line in look_at_notice(gov.night.archive, gov.night.config.pacs, row, folder):
            story.need(holds, line)


def newest(gov: GovernanceSite) -> str:
    """The candidate that the retraining has just registered."""
    return next(m.version for m in gov.registry.all() if m.state == CANDIDATE)
