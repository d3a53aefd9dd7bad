"""Airflow's public REST API, asked in this process as the visitor: its permissions and its audit log apply."""

from __future__ import annotations

from collections.abc import Mapping

import anyio.from_thread
import httpx
from fastapi import Request

from gtr_console.given import app_around

#: Whom Airflow has signed in is said by these, and by nothing else.
_CREDENTIALS = ("authorization", "cookie")


def start_run(request: Request, dag_id: str, run_id: str, conf: Mapping[str, object]) -> int:
    """Start a run of a DAG in the name of whoever asks; returns the status of Airflow's answer (200: started).

    To be called from a route that runs in a thread of its own. The visitor's own credentials go with it and nobody
    else's, so Airflow decides by its own permissions and notes it in its audit log.
    """
    body = {"dag_run_id": run_id, "logical_date": None, "conf": dict(conf)}
    return anyio.from_thread.run(_post, request, f"/api/v2/dags/{dag_id}/dagRuns", body)


async def _post(request: Request, path: str, body: Mapping[str, object]) -> int:
    airflow = app_around(request)
    if airflow is None:
        return 404
    headers = {name: request.headers[name] for name in _CREDENTIALS if name in request.headers}
    transport = httpx.ASGITransport(app=airflow, raise_app_exceptions=False, client=_client(request))
    async with httpx.AsyncClient(transport=transport, base_url=str(request.base_url.replace(path=""))) as client:
        answer = await client.post(f"{airflow.root_path}{path}", json=body, headers=headers)
    return answer.status_code


def _client(request: Request) -> tuple[str, int]:
    """Who asks, for Airflow's access log."""
    return (request.client.host, request.client.port) if request.client else ("127.0.0.1", 0)
