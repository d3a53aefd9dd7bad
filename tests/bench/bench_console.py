"""``python -m tests.bench.bench_console [--cases 100000]`` (`make bench-console`): the console after ten years.

The rows are written straight into an embedded PostgreSQL; Airflow's own API server, with the plugin as Airflow loads
it, serves them in a process of its own, and readers with tokens of Airflow ask every page from another. Per route:
CPU of the server and of PostgreSQL a request and the time of one reader alone; then of all readers together, each of
whom asks every page in an order of its own, without a pause and with one. What Airflow's part of a request costs is
told by the route of the style sheet, which reads nothing. Airflow's own routes are asked of it, of an Airflow without
the plugin in turn, and among the readers of the console.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg2
from attrs import asdict, frozen

from gtr_batch.db import migrate
from gtr_batch.simulation.servers.services import embedded_postgres
from tests.bench.console_history import write_history
from tests.console.api_server import ApiServer, api_server
from tests.console_hospital import MODEL, NIGHT, OLD_MODEL, Hospital, fill
from tests.phantoms import abdomen_hu

ROOT = Path(__file__).resolve().parents[2]
READERS = 20
TARGETS_MS = {"page": (200.0, 500.0), "image": (150.0, 150.0)}
ROUNDS = 3  # of Airflow's own routes, with the plugin and without in turn
LAST_NIGHT = 150  # cases of the last night beside its share: three pages of the worklist
SLICES, SIZE, KEY = 24, 512, 12
USERS = {"olga": "op", "rahel": "user", "anton": "viewer", "ada": "admin"}


@frozen
class Page:
    """A route as its readers ask it: any of `paths`, as `user`; `kind` is ``page``, ``image`` or ``airflow``."""

    name: str
    user: str
    paths: Sequence[str]
    kind: str = "page"
    under: str = "/gtr"
    accept: str = "text/html"


#: What Airflow's own pages of DAGs and runs ask.
AIRFLOWS = [
    Page(name, "ada", [f"/api/v2/{path}"], "airflow", "", "application/json")
    for name, path in (
        ("Airflow: its DAGs", "dags?limit=50"),
        ("Airflow: runs", "dags/~/dagRuns?limit=50"),
        ("Airflow: its health", "monitor/health"),
    )
]


def pages_of(hospital: Hospital) -> list[Page]:
    """Every page and picture, with the worklist by each of its filters."""
    night = f"night={NIGHT}"
    with closing(psycopg2.connect(hospital.dsn)) as connection, connection.cursor() as cursor:
        cursor.execute("select case_id::text, night from staging_case where accession_number like 'ACC%%7'")
        old = cursor.fetchall()
    chosen = random.Random(5).sample(old, min(100, len(old)))
    pictured = [hospital.cases[name] for name in ("staged", "flagged", "deep", "no_nomogram")]
    return [
        Page("nights", "olga", ["/nights"]),
        Page("nights, older", "olga", [f"/nights?before={night}" for _, night in chosen]),
        Page("a night", "olga", [f"/nights/{NIGHT}"]),
        Page("a night, older", "olga", [f"/nights/{night}" for _, night in chosen]),
        Page("worklist", "rahel", ["/worklist"]),
        Page("worklist, no PatientIDs", "anton", ["/worklist"]),
        Page("worklist of an older night", "rahel", [f"/worklist?night={night}" for _, night in chosen]),
        Page("worklist by stage", "rahel", [f"/worklist?{night}&stage=T4&stage=T3"]),
        Page("worklist by state", "rahel", [f"/worklist?{night}&outcome=failed", f"/worklist?{night}&outcome=refused"]),
        Page("worklist by flag", "rahel", [f"/worklist?{night}&flag=key_slice_uncertain"]),
        Page("worklist by scanner", "rahel", [f"/worklist?{night}&scanner=GE+Scanner+1"]),
        Page("worklist, next page", "rahel", []),
        Page("case with pictures", "rahel", [f"/cases/{case}" for case in pictured]),
        Page("case, older", "rahel", [f"/cases/{case}" for case, _ in chosen]),
        Page("audits", "anton", ["/audits"]),
        Page("models", "ada", ["/models"]),
        Page("a model", "ada", [f"/models/{MODEL}"]),
        Page("slice", "rahel", [f"/cases/{c}/slices/{i}" for c in pictured for i in range(SLICES)], "image"),
        Page("heat map", "rahel", [f"/cases/{c}/heat/{i}" for c in pictured for i in range(3)], "image"),
        Page("overview", "rahel", [f"/cases/{c}/overview.png" for c in pictured], "image"),
        Page("style sheet (nothing read)", "rahel", ["/static/console.css"]),
    ]


def _write_runs(uri: str) -> None:
    """Runs of nightly_staging in Airflow's database: more than the page of nights asks for."""
    statement = """
        insert into dag_run (dag_id, run_id, run_type, run_after, logical_date, data_interval_start, data_interval_end,
            state, queued_at, clear_number)
        select 'nightly_staging', 'scheduled__' || at::text, 'scheduled', at + interval '1 day', at, at,
            at + interval '1 day', 'success', at, 0
        from generate_series(1, 400) as n, lateral (select %s::timestamptz - n * interval '1 day' as at) as d
    """
    with closing(psycopg2.connect(uri)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("set session_replication_role = replica")
        cursor.execute(statement, (NIGHT,))


def measure(cases: int, each: int, pause_s: float) -> dict[str, Any]:
    """Write, serve, read: the rows of the table, and what it was measured on."""
    with tempfile.TemporaryDirectory(prefix="gtr-bench-console-") as name:
        folder = Path(name)
        with embedded_postgres(folder / "postgres") as uri:
            migrate(uri)
            hospital = fill(uri, folder / "store", volume=lambda: abdomen_hu(SLICES, SIZE), key=KEY, history=0)
            written_s = write_history(uri, cases, NIGHT, (MODEL, OLD_MODEL), LAST_NIGHT)
            (folder / "airflow").mkdir()
            (folder / "airflow_alone").mkdir()
            without = {"AIRFLOW__CORE__PLUGINS_FOLDER": str(folder / "no_plugins")}
            with (
                api_server(hospital, folder / "airflow", USERS, {"GTR_NIGHT__TIMEZONE": "UTC"}) as served,
                api_server(hospital, folder / "airflow_alone", USERS, without) as alone,
            ):
                for one in (served, alone):
                    _write_runs(one.database)
                rows = _measure(hospital, served, each, pause_s)
                airflows = _measure_airflow(hospital, served, alone, each, pause_s)
    return {
        "cases": cases,
        "readers": READERS,
        "pause_s": pause_s,
        "load": [round(one, 1) for one in os.getloadavg()],
        "cores": os.cpu_count(),
        "written_s": round(written_s, 1),
        "rows": rows,
        "airflows": airflows,
    }


def _measure(hospital: Hospital, served: ApiServer, each: int, pause_s: float) -> list[dict[str, Any]]:
    login = {user: _token(served, user) for user in USERS}
    pages = [_with_next(page, served, login) for page in pages_of(hospital)]
    server, postgres = psutil.Process(served.pid), _postmaster(hospital.dsn)
    alone = {}
    with readers_of(served, login) as readers:
        for page in pages:
            readers.ask([page], readers=1, each=3, pause_s=0.0)  # what is read or compiled once
            before = _cpu_s(server), _cpu_s(postgres)
            times = readers.ask([page], readers=1, each=each, pause_s=0.0)[page.name]
            after = _cpu_s(server), _cpu_s(postgres)
            used = [(b - a) * 1000 / each for a, b in zip(before, after, strict=True)]
            median = statistics.median(times)
            alone[page.name] = {"server_cpu_ms": used[0], "postgres_cpu_ms": used[1], "alone_ms": median}
            print(f"{page.name}: {used[0]:.1f} + {used[1]:.1f} ms, {median:.0f} ms", file=sys.stderr)
        rounds = max(1, each // READERS)
        busy = readers.ask(pages, readers=READERS, each=rounds, pause_s=0.0)
        print("all at once", file=sys.stderr)
        paused = readers.ask(pages, readers=READERS, each=rounds, pause_s=pause_s)
    return [
        {
            "name": page.name,
            "kind": page.kind,
            **alone[page.name],
            **_spread("busy", busy[page.name]),
            **_spread("paused", paused[page.name]),
        }
        for page in pages
    ]


def _measure_airflow(
    hospital: Hospital, served: ApiServer, alone: ApiServer, each: int, pause_s: float
) -> list[dict[str, Any]]:
    """Milliseconds of Airflow's own routes: without the plugin, with it, and with it among the console's readers."""
    times: dict[str, dict[str, list[float]]] = {page.name: {"without": [], "with": []} for page in AIRFLOWS}
    logins = [{user: _token(one, user) for user in USERS} for one in (alone, served)]
    with readers_of(alone, logins[0]) as plain, readers_of(served, logins[1]) as ours:
        for number in range(ROUNDS + 1):
            for how, readers in (("without", plain), ("with", ours)):
                for name, found in readers.ask(AIRFLOWS, readers=1, each=each // ROUNDS, pause_s=0.0).items():
                    times[name][how] += found if number else []  # what is read or compiled once
        pages = [*(_with_next(page, served, logins[1]) for page in pages_of(hospital)), *AIRFLOWS]
        among = ours.ask(pages, readers=READERS, each=max(1, each // READERS), pause_s=pause_s)
    return [
        {
            "name": name,
            **_spread("without", found["without"]),
            **_spread("with", found["with"]),
            **_spread("among", among[name]),
        }
        for name, found in times.items()
    ]


def _spread(name: str, times: Sequence[float]) -> dict[str, float]:
    ordered = sorted(times)
    return {
        f"{name}_median_ms": statistics.median(ordered),
        f"{name}_p95_ms": ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))],
    }


def _token(served: ApiServer, user: str) -> str:
    asked = {"username": user, "password": served.passwords[user]}
    answer = httpx.post(f"{served.url}/auth/token", json=asked, timeout=60)
    answer.raise_for_status()
    return str(answer.json()["access_token"])


def _with_next(page: Page, served: ApiServer, login: Mapping[str, str]) -> Page:
    """The worklist's next page, whose address its first page gives."""
    if page.paths:
        return page
    cookie = {"_token": login[page.user]}
    text = httpx.get(f"{served.url}/gtr/worklist?night={NIGHT}", cookies=cookie, timeout=60).text
    found = re.search(r'name="after" value="([^"]+)"', text)
    assert found, "the last night has no second page"
    after = str(httpx.QueryParams({"night": str(NIGHT), "after": found[1]}))
    return Page(page.name, page.user, [f"/worklist?{after}"], page.kind)


def _postmaster(dsn: str) -> psutil.Process:
    with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
        cursor.execute("select pg_backend_pid()")
        found = psutil.Process(cursor.fetchone()[0]).parent()
    assert found is not None
    return found


def _cpu_s(process: psutil.Process) -> float:
    """Seconds of a core that a process and its children have used."""
    used = 0.0
    for one in (process, *process.children(recursive=True)):
        try:
            times = one.cpu_times()
        except psutil.NoSuchProcess:
            continue
        used += times.user + times.system
    return used


@frozen
class Readers:
    """`tests.bench.console_readers`, with what it asks and as whom."""

    served: ApiServer
    login: Mapping[str, str]
    process: subprocess.Popen[str]

    def ask(self, pages: Sequence[Page], *, readers: int, each: int, pause_s: float) -> dict[str, list[float]]:
        """Milliseconds of every answer by page."""
        told = {
            "url": self.served.url, "login": self.login, "pages": [asdict(page) for page in pages],
            "readers": readers, "each": each, "pause_s": pause_s,
        }  # fmt: skip
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(told) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("The readers have stopped; what the console answered is above.")
        found: dict[str, list[float]] = json.loads(line)
        return found


@contextmanager
def readers_of(served: ApiServer, login: Mapping[str, str]) -> Iterator[Readers]:
    """The readers, until the block ends."""
    command = [sys.executable, str(Path(__file__).with_name("console_readers.py"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Readers(served, login, process)


def table(found: Mapping[str, Any]) -> str:
    """The rows as Markdown."""
    lines = [
        f"{found['cases']:,} cases, {found['readers']} readers, {found['cores']} cores, load {found['load']}.",
        "",
        "| | server, ms of a core | PostgreSQL, ms of a core | alone, ms | no pause: median, 95th | "
        f"a pause of {found['pause_s']:g} s: median, 95th | target |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in found["rows"]:
        target = TARGETS_MS[row["kind"]]
        met = row["paused_median_ms"] < target[0] and row["paused_p95_ms"] < target[1]
        lines.append(
            f"| {row['name']} | {row['server_cpu_ms']:.1f} | {row['postgres_cpu_ms']:.1f} | {row['alone_ms']:.0f} "
            f"| {row['busy_median_ms']:.0f}, {row['busy_p95_ms']:.0f} "
            f"| {row['paused_median_ms']:.0f}, {row['paused_p95_ms']:.0f} "
            f"| {target[0]:.0f}, {target[1]:.0f}: {'met' if met else 'missed'} |"
        )
    lines += [
        "",
        "| milliseconds: median, 95th | without the plugin | with it | with it, among the readers with a pause |",
        "|---|---|---|---|",
    ]
    for row in found["airflows"]:
        cells = (f"{row[f'{how}_median_ms']:.1f}, {row[f'{how}_p95_ms']:.1f}" for how in ("without", "with", "among"))
        lines.append(f"| {row['name']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000, help="of ten years")
    parser.add_argument("--each", type=int, default=60, help="requests of a page by the single reader")
    parser.add_argument("--pause", type=float, default=2.0, help="seconds a reader looks at a page, on average")
    parser.add_argument("--json", action="store_true", help="print JSON, no table")
    given = parser.parse_args()
    found = measure(given.cases, given.each, given.pause)
    print(json.dumps(found, indent=1) if given.json else table(found))


if __name__ == "__main__":
    main()
