"""``python -m tests.bench.audit_history [--cases 200000] [--width 512]``: a monthly audit of ten years of history.

The history is written straight into an embedded PostgreSQL (`generate_series`): cases of every night with results,
slices, features, facts, events, patients and, for two in three, pathology. Then the month's audit is run as the DAG's
task runs it, in a process of its own, and its parts are told: seconds of a core and the largest memory by then. The
server's own seconds are not in them.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from datetime import date
from pathlib import Path

import attrs
import psycopg2

from gtr_batch.config import AuditConfig, Config, StageConfig
from gtr_batch.db import migrate
from gtr_batch.simulation.servers.services import embedded_postgres
from gtr_batch.stage import read_version
from tests.fixtures_db import logins
from tests.settings import as_environment

ROOT = Path(__file__).resolve().parents[2]
ARTEFACT = ROOT / "gtr_batch" / "simulation" / "demo_artefact"
LAST = date(2026, 2, 28)
YEARS = 10
FACTS = {
    "manufacturer": "SIEMENS",
    "model": "SOMATOM Force",
    "kernel": "Br40",
    "kvp": 120.0,
    "thickness_mm": 5.0,
    "slices": 87,
    "phase": "portal_venous",
    "aorta_hu": 150.0,
    "liver_hu": 110.0,
}

HISTORY = """
set session_replication_role = replica;
select setseed(0.5);
create temp table c as
    select k, md5('case ' || k)::uuid as case_id, %(last)s::date - (k * %(days)s / %(cases)s)::int as night,
        'P' || lpad((k / 2)::text, 9, '0') as patient_id, 1 + floor(random() * 4)::int as truth,
        1 + floor(random() * 4)::int as said, random() as u, random() as v
    from generate_series(0, %(cases)s - 1) as k;
update c set said = truth where u < 0.6;
insert into night (night, model_version) select distinct night, %(version)s from c;
insert into ehr_patient (patient_id, sex, birth_date)
    select distinct on (patient_id) patient_id, case when v < 0.6 then 'male' else 'female' end, date '1955-06-01'
    from c order by patient_id;
insert into staging_result (case_id, model_version, t_stage, p_t1, p_t2, p_t3, p_t4, key_slice_source, flags)
    select case_id, %(version)s, 'T' || said,
        case said when 1 then mine else other end, case said when 2 then mine else other end,
        case said when 3 then mine else other end, case said when 4 then mine else other end, 'automatic', '{}'
    from c, lateral (select 0.7 - v / 5 as mine, 0.1 + v / 15 as other) as p;
insert into staging_case (case_id, night, study_uid, series_uid, patient_id, study_at, state, reached, model_version)
    select case_id, night, '1.2.3.' || k, '1.2.3.' || k || '.1', patient_id, night + time '10:00', 'committed',
        'committed', %(version)s from c;
insert into slice_result (case_id, model_version, position, role, sop_instance_uid, t_stage, p_t1, p_t2, p_t3, p_t4)
    select case_id, %(version)s, at, (array['below', 'key', 'above'])[at + 1], '1.2.3.' || k || '.' || at, 'T' || said,
        0.25, 0.25, 0.25, 0.25 from c, generate_series(0, 2) as at;
insert into case_event (case_id, at, step, state)
    select case_id, night + time '23:00' + n * interval '1 minute', 'deliver', state from c,
        unnest(array['staged', 'stored', 'committed']::case_state[]) with ordinality as s (state, n);
insert into series_fact (case_id, facts) select case_id, %(facts)s::jsonb from c;
insert into case_feature (case_id, model_version, features, logits)
    select case_id, %(version)s, f.features, array_fill(0.1::real, array[12])
    from c, lateral (
        select array_agg((random() + 0 * own)::real) as features
        from (select c.k as own, generate_series(1, %(width)s)) as each
    ) as f
    where night > %(last)s::date - 740;  -- the horizon's: older ones are not read
insert into ehr_surgery (patient_id, operated_on, reported_on, classification, t_category)
    select distinct on (patient_id) patient_id, night + 20, night + 30, 'pT', 'T' || truth from c
    where v < 0.67 order by patient_id, k;
analyze;
"""


def write_history(dsn: str, cases: int, width: int, version: str) -> float:
    """Fill a migrated database; returns the seconds that took."""
    began = time.monotonic()
    with closing(psycopg2.connect(dsn)) as connection, connection, connection.cursor() as cursor:
        facts = json.dumps(FACTS)
        days = YEARS * 365
        cursor.execute(
            HISTORY, {"last": LAST, "cases": cases, "days": days, "width": width, "version": version, "facts": facts}
        )
    return time.monotonic() - began


def audit_month() -> None:
    """Audit the last month, with settings from the environment, and print what each part cost."""
    from gtr_batch.audit.run import run_audit
    from gtr_batch.domain.audit_kind import AuditKind
    from gtr_batch.wiring import open_audit

    told: list[tuple[str, float, float]] = []

    def say(what: str) -> None:
        used = resource.getrusage(resource.RUSAGE_SELF)
        told.append((what, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024))

    with open_audit(progress=say) as site:
        found = run_audit(site, AuditKind.MONTH, LAST, "bench")
    say("end")
    parts = {
        what: {"cpu_s": round(after[1] - at, 1), "peak_mb": round(after[2])}
        for (what, at, _), after in itertools.pairwise(told)
    }
    print(json.dumps({"parts": parts, "cpu_s": told[-1][1], "peak_mb": told[-1][2], "answer": found.answer}))


def measure(cases: int, width: int) -> dict[str, object]:
    """Write the history and audit its last month; what that cost."""
    with tempfile.TemporaryDirectory(prefix="gtr-bench-audit-") as folder, embedded_postgres(Path(folder)) as uri:
        migrate(uri)
        written_s = write_history(uri, cases, width, read_version(ARTEFACT))
        config = Config(
            database=attrs.evolve(logins(uri), statement_timeout_s=600),
            stage=StageConfig(artefact=ARTEFACT),
            audit=AuditConfig(folder=Path(folder) / "audit"),
        )
        done = subprocess.run(
            [sys.executable, "-m", "tests.bench.audit_history", "--audit"],
            cwd=ROOT,
            env={**os.environ, **as_environment(config)},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    told = json.loads(done.stdout.splitlines()[-1])
    return {"cases": cases, "width": width, "written_s": round(written_s, 1), **told}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=200_000, help="of ten years")
    parser.add_argument("--width", type=int, default=512, help="features of a case; ResNet-152 has 2048")
    parser.add_argument("--audit", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.audit:
        audit_month()
    else:
        print(json.dumps(measure(given.cases, given.width), indent=1))


if __name__ == "__main__":
    main()
