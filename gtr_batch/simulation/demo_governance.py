"""The demo of governance: a candidate is made, judged, approved, promoted and undone, through the real Airflow.

What a hospital would do in weeks, in one go: a night by the champion; the retraining with its gate and its model card;
the candidate in shadow while a person thinks; the approval over Airflow's API, as its page sends it; a replay of the
night with the new champion, approved and sent; a rollback; a withdrawal with its notices in the PACS.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from attrs import define, field

from gtr_batch.domain.lifecycle import CANDIDATE
from gtr_batch.errors import PermanentError
from gtr_batch.simulation.demo import Demo

PERSON = "admin"  # who answers in the demo's Airflow
# The demo's holdout is small, and its candidate a few epochs old: with a hospital's margins it could never tell.
SETTINGS = """
[governance]
accuracy_margin = 0.25
kappa_margin = 0.2
ece_margin = 0.15
slope_margin = 2.0
intercept_margin = 2.0
t4_understaging_cap = 0.5
minimum_patients = 30
"""

Told = Callable[[list[dict[str, Any]]], None]


@define
class Story:
    """What happened, for people to read."""

    lines: list[str] = field(factory=list)
    wrong: list[str] = field(factory=list)

    def say(self, line: str) -> None:
        """One more sentence."""
        self.lines.append(line)

    def need(self, holds: bool, sentence: str) -> None:
        """Something that must be so."""
        (self.lines if holds else self.wrong).append(("" if holds else "NOT: ") + sentence)


def run_with_approval(
    demo: Demo, dag_id: str, conf: Mapping[str, Any], tell: Told, *, meanwhile: Callable[[], None], timeout_s: float
) -> str:
    """Trigger a DAG, do something else while it waits for a person, approve, wait for its end; returns its state."""
    assert demo.stack is not None  # the demo has started it
    run_id = demo.stack.trigger(dag_id, conf)
    end, asked = time.monotonic() + timeout_s, False
    while time.monotonic() < end:
        state = demo.stack.run_state(dag_id, run_id)
        tasks = demo.stack.task_instances(dag_id, run_id)
        tell(tasks)
        if state in ("success", "failed"):
            return state
        waiting = next((t for t in tasks if t["task_id"] == "approve" and t["state"] == "awaiting_input"), None)
        if waiting and not asked:
            meanwhile()
            asked = True
            demo.stack.api(
                "PATCH",
                f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/approve/-1/hitlDetails",
                {"chosen_options": ["Approve"], "params_input": {"why": "the demo's person has looked at the card"}},
            )
        time.sleep(1)
    raise PermanentError(f"{dag_id} did not end within {timeout_s:.0f} s; see {demo.stack.url}")


def tell_of_night(demo: Demo, story: Story) -> None:
    """What the champion staged."""
    from gtr_batch.wiring import open_governance

    with open_governance() as gov:
        summary = gov.night.book.night_summary(demo.night) or {}
        staged = summary.get("stages", {})
        story.need(sum(staged.values()) > 0, f"night {demo.night} staged {sum(staged.values())} cases by the champion")


def think(demo: Demo, story: Story) -> None:
    """What a person does while the run waits: look at the gate, and let the candidate stage in shadow."""
    from gtr_batch import night as steps
    from gtr_batch.governance.promotion import to_shadow
    from gtr_batch.wiring import open_governance

    with open_governance() as gov:
        candidate = newest(gov)
        verdict = gov.registry.document(candidate, "gate") or {}
        story.say(f"gate: {verdict['verdict']}. {verdict['sentence']}")
        story.lines.extend(f"  {c['verdict']:<12} {c['sentence']}" for c in verdict["criteria"])
        story.say(f"  {verdict['power']['sentence']}")
        to_shadow(gov.registry, candidate, by=PERSON, why="to see it beside the champion")
        ids = [c.case_id for c in gov.night.book.of_night(demo.night)]
        steps.shadow(gov.night, demo.night, ids)
        rows = [r for r in gov.night.shadows.of_night(demo.night) if r["t_stage"]] if gov.night.shadows else []
        agree = sum(r["t_stage"] == r["champion_stage"] for r in rows)
        story.need(len(rows) > 0, f"in shadow the candidate staged {len(rows)} cases, {agree} as the champion did")


def tell_of_promotion(demo: Demo, story: Story) -> str:
    """Who approved, and where the card lies; returns the new champion."""
    from gtr_batch.wiring import open_governance

    with open_governance() as gov:
        champion = gov.registry.champion() or ""
        history = gov.registry.history(champion)
        last = history[-1] if history else {}
        story.need(
            bool(last) and last["action"] == "promote" and last["by_whom"] == PERSON,
            f"model {champion[:12]} is the champion, approved by {last.get('by_whom')}: {last.get('why')}",
        )
        card = gov.night.config.training.models / "cards" / champion / "card.html"
        story.need(card.is_file(), f"model card: {card}")
    return champion


def tell_of_replay(demo: Demo, story: Story, version: str) -> None:
    """What the replay changed, and that the PACS has it."""
    from gtr_batch.wiring import open_governance

    with open_governance() as gov:
        rows = gov.registry.reports(version)
        stored = sum(row["stored"] for row in rows)
        story.need(
            0 < stored == len(rows), f"replay of the night: {stored} reports of the new champion are in the PACS"
        )


def undo(demo: Demo, story: Story, version: str, folder: Path) -> None:
    """Roll back, withdraw, and supersede what the withdrawn model had said."""
    import pydicom

    from gtr_batch.governance.promotion import rollback
    from gtr_batch.governance.withdrawal import affected, send_notices, withdraw
    from gtr_batch.wiring import open_governance

    with open_governance() as gov:
        before = rollback(gov.registry, by=PERSON, why="the demo rolls back", shown=version)
        story.need(gov.registry.champion() == before != version, f"rolled back to {before[:12]}")
        withdraw(gov.registry, version, by=PERSON, why="the demo withdraws it", shown=before)
        due = [row for row in affected(gov.registry, version) if row["due"]]
        sent = send_notices(gov.night, gov.registry, version, [row["sop_instance_uid"] for row in due])
        story.need(
            sent["sent"] == len(due) > 0 and not sent["failed"],
            f"withdrawn: {sent['sent']} of {len(due)} reports superseded in the PACS",
        )
        row = next(r for r in affected(gov.registry, version) if r["notice_stored"])
        path = gov.night.archive.retrieve(row["study_uid"], row["series_uid"], [row["notice_uid"]], folder)[0]
        notice = pydicom.dcmread(path)
        named = notice.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
        story.need(
            named.ReferencedSOPInstanceUID == row["sop_instance_uid"],
            f"fetched back from the PACS, a notice names the report that it supersedes: {path}",
        )


def newest(gov: Any) -> str:
    """The candidate that the retraining has just registered."""
    return str(next(m["version"] for m in gov.registry.all() if m["state"] == CANDIDATE))
