-- name: cases(since, until, timezone)
-- Every case of these nights with its result, its scan and what became of the patient; persons as keyed digests.
with picked as (
    select
        c.*,
        coalesce(c.study_at::date, c.night) as study_on,
        c.state <> 'refused' and c.reached >= 'staged' and c.model_version is not null as is_staged
    from staging_case as c
    where c.night between %(since)s and %(until)s
)
select
    c.case_id::text as case_id,
    -- Without a PatientID nobody knows who it is; two such studies are not one patient.
    audit_subject_of(coalesce(nullif(c.patient_id, ''), 'study ' || c.study_uid)) as subject,
    c.night, c.study_on, c.is_staged,
    case when c.state = 'refused' then c.refusal_code end as refusal,
    r.model_version, r.t_stage, r.not_staged, r.p_t1, r.p_t2, r.p_t3, r.p_t4, r.flags, r.key_slice_source,
    r.set_lowest, r.set_highest, r.set_coverage,
    array(
        select l.t_stage from slice_result as l
        where l.case_id = r.case_id and l.model_version = r.model_version
        order by l.position
    ) as slice_stages,
    n.p_t1 as nomogram_p_t1, n.p_t2 as nomogram_p_t2, n.p_t3 as nomogram_p_t3, n.p_t4 as nomogram_p_t4,
    v.features,
    f.facts,
    p.sex, extract(year from age(c.study_on, p.birth_date))::int as age_years,
    mk.cea_ng_ml, mk.ca19_9_u_ml, mk.ca72_4_u_ml, mk.ca125_u_ml, mk.afp_ng_ml, mk.pd_l1_percent,
    u.size_cm, w.location, b.lauren, b.differentiation,
    s.operated_on, s.reported_on, s.classification, s.t_category::text as t_category, s.t_stage as pathology,
    e.read_on, e.radiologist_ct::text as radiologist_ct, e.endosonographer_ut::text as endosonographer_ut,
    d.delivered_on, d.study_stored_on, d.study_delivered_on
from picked as c
left join staging_result as r on c.is_staged and r.case_id = c.case_id and r.model_version = c.model_version
left join nomogram_result as n on n.case_id = r.case_id and n.model_version = r.model_version and c.reached >= 'scored'
    and r.not_staged is null
left join case_feature as v on v.case_id = r.case_id and v.model_version = r.model_version
left join series_fact as f on f.case_id = c.case_id
left join ehr_patient as p on p.patient_id = c.patient_id
left join ehr_read as e on e.study_uid = c.study_uid
left join lateral (
    select size_cm from ehr_tumour
    where patient_id = c.patient_id and measured_on <= c.study_on and size_cm is not null
    order by measured_on desc limit 1
) as u on true
left join lateral (
    select location from ehr_tumour
    where patient_id = c.patient_id and measured_on <= c.study_on and location is not null
    order by measured_on desc limit 1
) as w on true
left join lateral (
    select lauren, differentiation from ehr_biopsy
    where patient_id = c.patient_id and site = 'stomach' and biopsy_date <= c.study_on
    order by adenocarcinoma desc, biopsy_date desc limit 1
) as b on true
left join lateral (
    -- Each marker's last value by the day of the CT.
    select
        (array_agg(cea_ng_ml order by sampled_on desc) filter (where cea_ng_ml is not null))[1] as cea_ng_ml,
        (array_agg(ca19_9_u_ml order by sampled_on desc) filter (where ca19_9_u_ml is not null))[1] as ca19_9_u_ml,
        (array_agg(ca72_4_u_ml order by sampled_on desc) filter (where ca72_4_u_ml is not null))[1] as ca72_4_u_ml,
        (array_agg(ca125_u_ml order by sampled_on desc) filter (where ca125_u_ml is not null))[1] as ca125_u_ml,
        (array_agg(afp_ng_ml order by sampled_on desc) filter (where afp_ng_ml is not null))[1] as afp_ng_ml,
        (array_agg(pd_l1_percent order by sampled_on desc) filter (where pd_l1_percent is not null))[1] as pd_l1_percent
    from ehr_marker
    where patient_id = c.patient_id and sampled_on <= c.study_on
) as mk on true
left join lateral (
    select operated_on, reported_on, classification, t_category, t_stage from ehr_surgery
    where patient_id = c.patient_id and operated_on >= c.study_on
    order by operated_on limit 1
) as s on true
left join lateral (
    -- When the first AI result came into the PACS: of this case, and of any case of its study, which is what is read.
    select
        (min(o.at) filter (where o.state = 'committed' and o.case_id = c.case_id)
            at time zone %(timezone)s)::date as delivered_on,
        (min(o.at) filter (where o.state = 'stored') at time zone %(timezone)s)::date as study_stored_on,
        (min(o.at) filter (where o.state = 'committed') at time zone %(timezone)s)::date as study_delivered_on
    from staging_case as k join case_event as o on o.case_id = k.case_id
    where k.study_uid = c.study_uid and o.state in ('stored', 'committed')
) as d on true
order by c.night, c.case_id;

-- name: readings(since, until, as_of, timezone)
-- What each reader said of the result that these cases carry, by the end of a day: a stage of their own where they gave
-- it before the AI's was shown to them, and the word that holds. One row a case and reader; it names no reader.
with shown as materialized (
    select
        c.case_id, result_digest(c.case_id, c.model_version) as result,
        -- The stage that pages show: the nomogram's likeliest where it is the answer, the lower one on a tie.
        case
            when n.is_primary then case greatest(n.p_t1, n.p_t2, n.p_t3, n.p_t4)
                when n.p_t1 then 'T1' when n.p_t2 then 'T2' when n.p_t3 then 'T3' when n.p_t4 then 'T4'
            end
            else s.t_stage
        end as ai_stage
    from staging_case as c
    join staging_result as s on s.case_id = c.case_id and s.model_version = c.model_version
    left join nomogram_result as n on n.case_id = s.case_id and n.model_version = s.model_version and c.reached >= 'scored'
    where c.night between %(since)s and %(until)s and c.state <> 'refused' and c.reached >= 'staged'
        and s.not_staged is null
        and (
            exists (select from reader_word as w where w.case_id = c.case_id)
            or exists (select from reader_own_stage as o where o.case_id = c.case_id)
        )
),
word as (
    select distinct on (w.case_id, w.reader)
        w.case_id, w.reader, w.kind, w.t_stage, (w.at at time zone %(timezone)s)::date as said_on
    from shown join reader_word as w using (case_id, result)
    where w.kind in ('agree', 'overrule') and (w.at at time zone %(timezone)s)::date <= %(as_of)s
        and not exists (
            select from reader_word as b
            where b.withdraws = w.reader_word_id and (b.at at time zone %(timezone)s)::date <= %(as_of)s
        )
    order by w.case_id, w.reader, w.reader_word_id desc
),
own as (
    select o.case_id, o.reader, o.t_stage, (o.at at time zone %(timezone)s)::date as own_on
    from shown
    join reader_own_stage as o using (case_id, result)
    left join reader_shown as s on s.case_id = o.case_id and s.result = o.result and s.reader = o.reader
    where (o.at at time zone %(timezone)s)::date <= %(as_of)s and (s.at is null or o.at < s.at)
)
select
    shown.case_id::text as case_id, shown.ai_stage, o.t_stage as own_stage, o.own_on,
    case w.kind when 'agree' then shown.ai_stage else w.t_stage end as said, w.said_on
from shown
join (word as w full join own as o using (case_id, reader)) using (case_id)
order by shown.case_id, o.t_stage, said, o.own_on, w.said_on;

-- name: first_night(version)
-- The first night of which a model has a result.
select min(c.night) as night from staging_result as r join staging_case as c using (case_id)
where r.model_version = %(version)s;

-- name: save_run(run_id, kind, period, as_of, model_version, code_version, settings, answer, headline, files, asked_by)
-- A run; the same again changes nothing.
insert into audit_run (
    run_id, kind, period, as_of, model_version, code_version, settings, answer, headline, files, asked_by
)
values (
    %(run_id)s, %(kind)s, %(period)s, %(as_of)s, %(model_version)s, %(code_version)s, %(settings)s, %(answer)s,
    %(headline)s, %(files)s, %(asked_by)s
)
on conflict (run_id) do nothing;

-- name: run(digits)
-- A run, by its id or the beginning of it.
select * from audit_run where starts_with(run_id, %(digits)s) order by run_id limit 2;

-- name: runs(kind)
-- Every run of a kind, or of all, newest first.
select * from audit_run where kind = %(kind)s or %(kind)s is null order by made_at desc, run_id;

-- name: raise_alarm(monitor, level, night, watching_since, model_version, sentence, detail, run_id)
-- An alarm; no row comes back where this monitor has raised one for this model in this watch.
insert into drift_alarm (monitor, level, night, watching_since, model_version, sentence, detail, run_id)
values (
    %(monitor)s, %(level)s, %(night)s, %(watching_since)s, %(model_version)s, %(sentence)s, %(detail)s, %(run_id)s
)
on conflict (monitor, model_version, watching_since) do nothing
returning drift_alarm_id as alarm_id;

-- name: alarms(only_open)
-- Every alarm with what became of it, oldest first.
select * from drift_alarm_status where acknowledged_at is null or not %(only_open)s order by alarm_id;

-- name: alarm(alarm_id)
-- One alarm with what became of it.
select * from drift_alarm_status where alarm_id = %(alarm_id)s;

-- name: acknowledge(alarm_id, by_whom, note, watch_from)
-- Somebody has looked at an alarm; no row comes back where somebody had before.
insert into drift_alarm_acknowledgment (drift_alarm_id, by_whom, note, watch_from)
values (%(alarm_id)s, %(by_whom)s, %(note)s, %(watch_from)s)
on conflict (drift_alarm_id) do nothing
returning drift_alarm_id as alarm_id;

-- name: pause(alarm_id)
-- This alarm holds reports back; the same again changes nothing.
insert into delivery_pause (drift_alarm_id) values (%(alarm_id)s) on conflict (drift_alarm_id) do nothing;
