"""Run the DAG `restage` with `dag.test()` up to the question, and answer it as a user over Airflow's own REST API.

What replays and sends does as told; question and answer go through the real operator, Airflow's record of them in its
database, its authorisation, and our tables in the PostgreSQL that the environment names. Prints, as JSON, how each
attempt ended: the API's answers, the tasks' states, and in whose name was sent.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import threading
import traceback

from gtr_batch.config import load
from gtr_batch.domain.replay import Comparison, Redelivered

DIGEST, OTHER, MODEL = "b" * 64, "e" * 64, "a" * 64
APPROVE = {"chosen_options": ["Approve"], "params_input": {"why": "looked at it"}}


def comparison(digest: str) -> Comparison:
    """A replay of no cases."""
    import numpy as np

    from gtr_batch.metrics.agreement import agreement

    return Comparison(digest, MODEL, (), (), agreement(np.array([], int), np.array([], int)))


def keep(config) -> None:
    """A registered model, and the comparisons that may be approved."""
    from pathlib import Path

    from gtr_batch.wiring import open_governance

    with open_governance(config) as gov:
        gov.registry.register(MODEL, {"name": "m"}, Path("m"), by="retraining", why="a test")
        for digest in (DIGEST, OTHER):
            gov.restages.save(digest, MODEL, {"nights": [], "case_ids": []}, comparison(digest).to_json())


class Users:
    """Airflow's API server in this process; each user with a token of its own."""

    def __init__(self) -> None:
        from airflow.api_fastapi.app import create_app
        from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
        from fastapi.testclient import TestClient

        self._client = TestClient(create_app(apps="core"))
        self._manager = self._client.app.state.auth_manager
        self._user = SimpleAuthManagerUser

    def call(self, user: str, method: str, path: str, body: object = None) -> tuple[int, object]:
        """Status and body of an answer to this user, whose role is ``user``."""
        token = self._manager.generate_jwt(self._user(username=user, role="USER"))
        headers = {"Authorization": f"Bearer {token}"}
        got = self._client.request(method, f"/api/v2/{path}", json=body, headers=headers)
        return got.status_code, got.json() if got.content else None


def attempt(users: Users, act) -> dict:
    """Start a run, wait for its question, do what this attempt does, and tell how it ended."""
    from airflow.models import DagRun
    from airflow.utils.session import create_session
    from sqlalchemy import select

    from gtr_batch.governance import registry, restage

    sent: list = []
    restage.compare = lambda gov, version, **which: comparison(DIGEST)
    registry.find = lambda of, digits: MODEL

    def deliver(gov, digest: str, *, by: str, why: str) -> Redelivered:
        sent.append([digest, by, why])
        return Redelivered(digest, (), {})

    restage.deliver = deliver
    made = importlib.import_module("restage").restage()
    over, answers = threading.Event(), []
    run = Run(users, over)

    def beside_the_run() -> None:
        try:
            answers.extend(act(users, run))
        except BaseException:  # noqa: BLE001 - else the run would wait for an answer without end
            traceback.print_exc()
            os._exit(1)

    # The tasks want this process's main thread; the users are beside it, as they are in a hospital.
    beside = threading.Thread(target=beside_the_run)
    beside.start()
    made.test(logical_date=None, run_conf={"model": "a"})
    over.set()
    beside.join()
    with create_session() as session:
        ended = session.scalars(select(DagRun).order_by(DagRun.id.desc())).first()
        states = {ti.task_id: str(ti.state) for ti in ended.get_task_instances(session=session)}
    return {"answers": answers, "tasks": states, "sent": sent}


class Run:
    """The newest run of the DAG, as the API shows it."""

    def __init__(self, users: Users, over: threading.Event) -> None:
        self._users, self._over = users, over
        self._before = self._ids()

    def question(self) -> str:
        """Path of the question, once it waits for an answer."""
        while not self._over.wait(0.2):
            for run_id in self._ids() - self._before:
                path = f"dags/restage/dagRuns/{run_id}/taskInstances/approve"
                status, found = self._users.call("admin", "GET", path)
                if status == 200 and found["state"] == "awaiting_input":
                    return path
        raise AssertionError("the run ended without a question")

    def _ids(self) -> set[str]:
        _, found = self._users.call("admin", "GET", "dags/restage/dagRuns")
        return {run["dag_run_id"] for run in found.get("dag_runs", [])}  # none before Airflow knows the DAG


def an_approver(users: Users, run: Run) -> list:
    """Airflow asks whether the user may; another user may not, the approver may."""
    path = f"{run.question()}/-1/hitlDetails"
    return [users.call(user, "PATCH", path, APPROVE)[0] for user in ("mallory", "eve")]


def who_started_it(users: Users, run: Run) -> list:
    """Airflow lets the approver answer who started the run; we do not take that answer."""
    path = f"{run.question()}/-1/hitlDetails"
    return [users.call("dag_test", "PATCH", path, APPROVE)[0]]


def forged(users: Users, run: Run) -> list:
    """A user writes the answer and another subject into XCom and sets the task to success."""
    task = run.question()
    base = task.rsplit("/", 1)[0]
    said = {"chosen_options": ["Approve"], "responded_by_user": {"id": "eve", "name": "Eve"}, "params_input": {}}
    return [
        users.call("mallory", "POST", f"{task}/xcomEntries", {"key": "return_value", "value": said})[0],
        users.call("mallory", "PATCH", f"{base}/replay/xcomEntries/return_value", {"value": OTHER})[0],
        users.call("mallory", "PATCH", task, {"new_state": "success"})[0],
    ]


def swapped(users: Users, run: Run) -> list:
    """A user changes what the replay returned after the approver was shown it, and before they answer."""
    task = run.question()
    base = task.rsplit("/", 1)[0]
    return [
        users.call("mallory", "PATCH", f"{base}/replay/xcomEntries/return_value", {"value": OTHER})[0],
        users.call("eve", "PATCH", f"{task}/-1/hitlDetails", APPROVE)[0],
    ]


def main() -> None:
    from airflow.utils import db

    sys.path.insert(0, os.environ["AIRFLOW__CORE__DAGS_FOLDER"])
    with contextlib.redirect_stdout(sys.stderr):
        db.initdb()
        keep(load())
        users = Users()
        ended = {act.__name__: attempt(users, act) for act in (an_approver, who_started_it, forged, swapped)}
    print(json.dumps(ended))


if __name__ == "__main__":
    main()
