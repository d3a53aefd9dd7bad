-- name: nights(before, most)
-- Nights that were opened, newest first, with what became of their cases.
select
    n.night, n.model_version, n.opened_at, n.reopened_at, n.closed_at, n.summary,
    k.found, k.staged, k.not_staged, k.refused, k.failed, k.committed, k.last_committed_at
from (
    select * from night
    where (model_version <> '' or summary is not null) and (%(before)s::date is null or night < %(before)s)
    order by night desc
    limit %(most)s
) as n
cross join lateral (
    select
        count(*) as found,
        count(*) filter (where r.t_stage is not null and w.version is null and c.state <> 'failed') as staged,
        count(*) filter (where r.not_staged is not null) as not_staged,
        count(*) filter (where c.state = 'refused') as refused,
        count(*) filter (where c.state = 'failed') as failed,
        count(*) filter (where c.state = 'committed') as committed,
        max(c.changed_at) filter (where c.state = 'committed') as last_committed_at
    from staging_case as c
    left join staging_result as r
        on r.case_id = c.case_id and r.model_version = c.model_version and c.state <> 'refused' and c.reached >= 'staged'
    left join model_version as w on w.version = r.model_version and w.state = 'withdrawn'
    where c.night = n.night
) as k
order by n.night desc;

-- name: opened_nights(most)
-- The nights that were opened, newest first.
select night from night
where model_version <> '' or summary is not null
order by night desc
limit %(most)s;

-- name: last_night()
-- The newest night that was opened and has cases, else the newest that was opened.
select coalesce(
    (
        select n.night from night as n
        cross join lateral (select from staging_case as c where c.night = n.night limit 1) as k
        where n.model_version <> '' or n.summary is not null
        order by n.night desc
        limit 1
    ),
    (select max(n.night) from night as n where n.model_version <> '' or n.summary is not null)
) as night;

-- name: worklist(night, stages, outcomes, flag, scanner, read, attention, reader, own_stage_first, after_rank, after_place, after_at, after_id, most)
-- A night's cases as they are read: what waits for the reader's own stage, then results with flags that ask for a look, the
-- deeper stage before the others. A withheld result has no stage and no flags here, for the order and the filter too.
select * from (
    select
        v.*,
        case
            when %(own_stage_first)s then w.standing
            else result_for_reader(v.case_id, v.result, v.t_stage, %(reader)s, false)
        end as standing,
        case
            when v.outcome = 'staged' and w.withheld then -1
            when v.outcome = 'staged' and v.flags && %(attention)s::text[] then 0
            when v.outcome = 'staged' then 1
            when v.outcome in ('not_staged', 'held', 'withdrawn') then 2
            when v.outcome = 'failed' then 3
            when v.outcome = 'unfinished' then 4
            else 5
        end as rank,
        case
            when w.withheld then 4
            when v.t_stage = 'T4' then 0 when v.t_stage = 'T3' then 1 when v.t_stage = 'T2' then 2 when v.t_stage = 'T1' then 3
            else 4
        end as place,
        coalesce(v.study_at, v.night::timestamp) as at
    from console_case as v
    cross join lateral (
        -- For every case only where the order depends on it, and once.
        select t.standing, coalesce(t.standing = 'withheld', false) as withheld
        from (
            select case
                when %(own_stage_first)s then result_for_reader(v.case_id, v.result, v.t_stage, %(reader)s, true)
            end as standing
            offset 0
        ) as t
    ) as w
    where v.night = %(night)s
        and (cardinality(%(stages)s::text[]) = 0 or (not w.withheld and v.t_stage = any (%(stages)s::text[])))
        and (cardinality(%(outcomes)s::text[]) = 0 or v.outcome = any (%(outcomes)s::text[]))
        and (%(flag)s = '' or (not w.withheld and %(flag)s = any (v.flags)))
        and (%(scanner)s = '' or v.scanner = %(scanner)s)
        and (%(read)s::boolean is null or (v.result is not null and v.is_read = %(read)s::boolean))
) as ordered
where %(after_rank)s::int is null
    or (rank, place, at, case_id) > (%(after_rank)s::int, %(after_place)s::int, %(after_at)s::timestamp, %(after_id)s::uuid)
order by rank, place, at, case_id
limit %(most)s;

-- name: choices(night, reader, own_stage_first)
-- What a night's worklist can be filtered by; not by flags of results that are withheld.
select
    coalesce(array_agg(distinct v.scanner) filter (where v.scanner is not null), '{}') as scanners,
    coalesce(array_agg(distinct f.flag) filter (where f.flag is not null), '{}') as flags
from console_case as v
left join lateral unnest(
    case
        when %(own_stage_first)s
            and result_for_reader(v.case_id, v.result, v.t_stage, %(reader)s, true) = 'withheld'
            then '{}'
        else v.flags
    end
) as f (flag) on true
where v.night = %(night)s;

-- name: failed(night, reader, own_stage_first, most)
-- A night's cases that did not come to an end, or were refused.
select v.*, result_for_reader(v.case_id, v.result, v.t_stage, %(reader)s, %(own_stage_first)s) as standing
from console_case as v
where v.night = %(night)s and v.outcome in ('failed', 'refused', 'held', 'withdrawn', 'unfinished')
order by array_position(array['failed', 'held', 'withdrawn', 'unfinished', 'refused'], v.outcome), v.reason_code, v.case_id
limit %(most)s;

-- name: case(case_id, reader, own_stage_first)
-- One case.
select v.*, result_for_reader(v.case_id, v.result, v.t_stage, %(reader)s, %(own_stage_first)s) as standing
from console_case as v where v.case_id = %(case_id)s;

-- name: others(case_id, reader, own_stage_first)
-- The patient's other cases, newest first.
select v.*, result_for_reader(v.case_id, v.result, v.t_stage, %(reader)s, %(own_stage_first)s) as standing
from console_case as v
where v.case_id = any (array(select case_id from other_cases_of_patient(%(case_id)s::uuid)))
order by v.night desc, v.case_id;

-- name: patients(case_ids, actor, why)
-- Whose these cases are; that somebody looked is written down with it.
select case_id::text as case_id, patient_id, issuer_of_patient_id, accession_number
from look_at_patients(%(case_ids)s::uuid[], %(actor)s, %(why)s);

-- name: stored(case_id)
-- The objects of a case that the PACS took.
select distinct sop_instance_uid from store_receipt
where case_id = %(case_id)s and (status = 0 or status between 45056 and 49151);

-- name: audits(before, most)
-- Runs of the audit, newest first; those before one where it is named.
select run_id, kind, period, as_of, model_version, answer, asked_by, made_at from audit_run
where %(before)s = '' or (made_at, run_id) < (select b.made_at, b.run_id from audit_run as b where b.run_id = %(before)s)
order by made_at desc, run_id desc
limit %(most)s;
