"""Ten years of nights in the console's database, written straight into its tables."""

from __future__ import annotations

import time
from contextlib import closing
from datetime import date

import psycopg2

YEARS = 10

#: Temporary table ``c``: a case each with its night, its patient and what became of it; then the rows of each.
HISTORY = """
set local session_replication_role = replica;
set local work_mem = '64MB';
select setseed(0.5);
create temp table c on commit drop as
    select d.*, case when d.night < %(last)s::date - 3285 then %(old_model)s else %(model)s end as model,
        'P' || lpad((d.k / 2)::text, 9, '0') as patient_id,
        case
            when d.u < 0.80 then 'staged' when d.u < 0.85 then 'not_staged' when d.u < 0.87 then 'stored'
            when d.u < 0.96 then 'refused' when d.u < 0.99 then 'failed' else 'unfinished'
        end as fate,
        1 + floor(d.v * 4)::int as said
    from (
        select k, md5('console ' || k)::uuid as case_id,
            case when k < %(last_night)s then %(last)s::date
                else %(last)s::date - (k * %(days)s / %(cases)s)::int end as night,
            random() as u, random() as v, random() as w
        from generate_series(0, %(cases)s - 1) as k
    ) as d;
insert into night (night, model_version, opened_at, closed_at, summary)
    select night, min(model), night + interval '1 day 30 minutes', night + interval '1 day 5 hours', '{"cases": 30}'
    from c group by night
    on conflict do nothing;
insert into staging_case (
    case_id, night, study_uid, series_uid, patient_id, accession_number, study_at, state, reached, model_version,
    refusal_step, refusal_code, refusal_sentence, refusal_numbers, failure_step, failure_error, failure_retryable
)
select case_id, night, '1.2.3.' || k, '1.2.3.' || k || '.1', patient_id, 'ACC' || k,
    night + time '08:00' + w * interval '10 hours', s.state, s.reached,
    case when fate in ('staged', 'stored', 'not_staged') then model end,
    r.step, r.code, r.sentence, r.numbers, f.step, f.error, f.retryable
from c
cross join lateral (
    select (case fate when 'refused' then 'refused' when 'failed' then 'failed' when 'stored' then 'stored'
            when 'unfinished' then 'validated' else 'committed' end)::case_state as state,
        (case fate when 'refused' then 'found' when 'failed' then 'retrieved' when 'stored' then 'stored'
            when 'unfinished' then 'validated' else 'committed' end)::case_state as reached
) as s
left join (values ('refused', 'intake', 'prior_chemotherapy', 'Chemotherapy before the study.', '{}'::jsonb))
    as r (fate, step, code, sentence, numbers) using (fate)
left join (values ('failed', 'retrieve', 'PacsUnreachable: no answer', true)) as f (fate, step, error, retryable)
    using (fate);
insert into staging_result (
    case_id, model_version, t_stage, p_t1, p_t2, p_t3, p_t4, key_slice_source, flags, set_lowest, set_highest,
    set_coverage, not_staged, not_staged_sentence, not_staged_numbers
)
select case_id, model, case when staged then 'T' || said end,
    case when staged then case said when 1 then mine else other end end,
    case when staged then case said when 2 then mine else other end end,
    case when staged then case said when 3 then mine else other end end,
    case when staged then case said when 4 then mine else other end end,
    case when w < 0.7 then 'ehr_reference' else 'automatic' end,
    case when w > 0.9 then array['automatic_key_slice', 'key_slice_uncertain']
        when w > 0.7 then array['automatic_key_slice']
        when w < 0.1 then array['nomogram_disagrees'] else '{}' end,
    case when staged then 'T' || said end, case when staged then 'T' || least(4, said + 1) end,
    case when staged then 0.9 end, case when not staged then 'unlike_reference' end,
    case when not staged then 'Unlike what the model was made from.' end, case when not staged then '{}'::jsonb end
from c, lateral (select 0.7 - w / 5 as mine, 0.1 + w / 15 as other, fate <> 'not_staged' as staged) as p
where fate in ('staged', 'stored', 'not_staged');
insert into slice_result (case_id, model_version, position, role, sop_instance_uid, t_stage, p_t1, p_t2, p_t3, p_t4)
    select case_id, model, at, (array['below', 'key', 'above'])[at + 1], '1.2.3.' || k || '.1.' || at, 'T' || said,
        0.25, 0.25, 0.25, 0.25
    from c, generate_series(0, 2) as at where fate in ('staged', 'stored', 'not_staged');
insert into nomogram_result (
    case_id, model_version, coefficients, rad_score_sd, rad_score_clipped, linear_predictor, points, p_t1, p_t2, p_t3,
    p_t4, low, high, tumour_size_cm, differentiation, lauren
)
select case_id, model, 'of the phantom hospital', 0.2, false, 0.4,
    '{"rad_score": 60, "tumour_size": 31, "differentiation": 20, "lauren": 9, "total": 120}',
    0.1, 0.5, 0.3, 0.1, array[0.05, 0.4, 0.2, 0.05], array[0.2, 0.6, 0.4, 0.2], 4.5, 'poor', 'intestinal'
from c where fate in ('staged', 'stored');
insert into series_fact (case_id, facts)
    select case_id, jsonb_build_object('manufacturer', (array['SIEMENS', 'GE', 'Philips'])[1 + k %% 3], 'model',
        'Scanner ' || k %% 5, 'kvp', 120, 'thickness_mm', 5.0, 'slices', 87, 'aorta_hu', 150, 'liver_hu', 110)
    from c where fate <> 'refused';
insert into report_object (
    sop_instance_uid, case_id, kind, sop_class_uid, series_uid, file, content_digest, model_version
)
select '1.2.4.' || k || '.' || n, case_id, kind, '1.2.840.10008.5.1.4.1.1.88.33', '1.2.4.' || k, kind || '.dcm',
    md5(k || kind), model
from c, unnest(array['structured_report', 'parametric_map', 'secondary_capture', 'key_objects'])
    with ordinality as o (kind, n)
where fate in ('staged', 'stored');
insert into store_receipt (case_id, sop_instance_uid, status)
    select case_id, '1.2.4.' || k || '.' || n, 0 from c, generate_series(1, 4) as n where fate in ('staged', 'stored');
insert into case_event (case_id, at, step, state, detail)
    select case_id, night + time '23:00' + n * interval '1 minute', step, state::case_state,
        case step when 'stage' then jsonb_build_object('t_stage', 'T' || said, 'p', 0.6)
            else '{"seconds": 1.25}' end
    from c, (values (1, 'intake', 'found'), (2, 'retrieve', 'retrieved'), (3, 'validate', 'validated'),
        (4, 'preprocess', 'preprocessed'), (5, 'stage', 'staged'), (6, 'nomogram', 'scored'), (7, 'report', 'reported'),
        (8, 'deliver', 'stored'), (9, 'deliver', 'committed')) as e (n, step, state)
    where n <= case fate when 'refused' then 1 when 'failed' then 2 when 'unfinished' then 3 when 'stored' then 8
        else 9 end;
insert into access_event (action, object_kind, object_id, actor, why)
    select 'patient.look', 'case', case_id::text, 'rahel', 'worklist' from c, generate_series(1, 3);
insert into audit_run (
    run_id, kind, period, as_of, model_version, code_version, settings, answer, headline, files, asked_by, made_at
)
select encode(sha256(on_::text::bytea), 'hex'), 'week', to_char(on_, 'IYYY-"W"IW'), on_, a.model_version,
    a.code_version, a.settings, (array['yes', 'yes', 'yes', 'look'])[1 + n %% 4], a.headline, a.files, a.asked_by,
    on_ + interval '8 hours'
from generate_series(1, %(days)s / 7) as n, lateral (select %(last)s::date - 7 * n as on_) as d,
    (select * from audit_run limit 1) as a
on conflict do nothing;
insert into drift_alarm (monitor, level, night, watching_since, model_version, sentence, detail, run_id, raised_at)
select m.monitor, 'look', r.as_of, r.as_of - 7, r.model_version, m.sentence, m.detail, r.run_id, r.made_at
from audit_run as r, (select * from drift_alarm limit 1) as m
where r.answer = 'look' and r.run_id <> m.run_id and extract(week from r.as_of)::int %% 2 = 0
on conflict do nothing;
insert into drift_alarm_acknowledgment (drift_alarm_id, by_whom, note, at)
    select drift_alarm_id, 'Anton', 'A new scanner of the second hospital.', raised_at + interval '1 day'
    from drift_alarm where night < %(last)s::date - 30
    on conflict do nothing;
"""


def write_history(dsn: str, cases: int, last: date, models: tuple[str, str], last_night: int) -> float:
    """Fill a migrated database in which a run and an alarm of the audit are; returns the seconds that took.

    Parameters
    ----------
    dsn : str
        Superuser's.
    cases, last_night : int
        In all; of them in the last night beside its share.
    last : date
        The last night.
    models : (str, str)
        The version that staged them, and that of the first year.
    """
    began = time.monotonic()
    values = {
        "cases": cases, "last": last, "days": YEARS * 365, "model": models[0], "old_model": models[1],
        "last_night": last_night,
    }  # fmt: skip
    with closing(psycopg2.connect(dsn)) as connection:
        with connection, connection.cursor() as cursor:
            cursor.execute(HISTORY, values)
        connection.autocommit = True
        connection.cursor().execute("vacuum analyze")
    return time.monotonic() - began
