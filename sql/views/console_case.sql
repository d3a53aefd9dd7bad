-- A case as the console shows it: one row a case, no PHI. What must not be shown (a withdrawn model's result, one that is
-- held back) is not in it. Read by the console.
drop view if exists console_case;
create view console_case as
select
    c.case_id,
    c.night,
    c.study_uid,
    c.series_uid,
    c.study_at,
    c.state::text as state,
    c.reached::text as reached,
    case
        when w.version is not null then 'withdrawn'
        when p.held then 'held'
        when c.state = 'refused' then 'refused'
        when c.state = 'failed' then 'failed'
        when s.not_staged is not null then 'not_staged'
        when s.case_id is not null then 'staged'
        else 'unfinished'
    end as outcome,
    case
        when w.version is not null then 'model_withdrawn'
        when p.held then 'delivery_paused'
        when c.state = 'failed' then c.failure_step
        when s.not_staged is not null then s.not_staged
        else c.refusal_code
    end as reason_code,
    case
        when w.version is not null
            then 'The model that staged this study was withdrawn; its result must not be used.'
        when p.held
            then 'The audit has raised an alarm about the model; its results are held back until a person has looked.'
        when c.state = 'failed' then c.failure_error
        when s.not_staged is not null then s.not_staged_sentence
        else c.refusal_sentence
    end as reason,
    coalesce(c.failure_retryable, false) as retryable,
    case when n.is_primary then m.t_stage else s.t_stage end as t_stage,
    case when n.is_primary then n.p_t1 else s.p_t1 end as p_t1,
    case when n.is_primary then n.p_t2 else s.p_t2 end as p_t2,
    case when n.is_primary then n.p_t3 else s.p_t3 end as p_t3,
    case when n.is_primary then n.p_t4 else s.p_t4 end as p_t4,
    case when n.is_primary then 'nomogram' when s.case_id is not null then 'network' end as answer_by,
    s.set_lowest,
    s.set_highest,
    s.set_coverage,
    coalesce(s.flags, '{}'::text[]) as flags,
    s.key_slice_source,
    (n.points ->> 'total')::double precision as points,
    s.model_version,
    nullif(trim(concat_ws(' ', f.facts ->> 'manufacturer', f.facts ->> 'model')), '') as scanner,
    case when s.case_id is not null then result_digest(s.case_id, s.model_version) end as result,
    -- One row of one case: what exists could be looked up in a hash of every word that was ever said.
    s.case_id is not null and coalesce((
        select true from reader_word as r
        where r.case_id = c.case_id and r.kind in ('agree', 'overrule')
            and not exists (select from reader_word as b where b.withdraws = r.reader_word_id)
            and r.result = result_digest(c.case_id, c.model_version)
        limit 1
    ), false) as is_read
from staging_case as c
left join model_version as w
    on w.version = c.model_version and w.state = 'withdrawn' and c.state <> 'refused' and c.reached >= 'staged'
left join lateral (
    -- What is in the PACS already stays on the worklist: both say the same.
    select exists (
        select from delivery_pause as q
        join drift_alarm as a using (drift_alarm_id)
        where a.model_version = c.model_version and c.state <> 'refused' and c.reached between 'staged' and 'reported'
            and not exists (
                select from drift_alarm_acknowledgment as k where k.drift_alarm_id = a.drift_alarm_id
            )
    ) as held
) as p on true
left join staging_result as s
    on s.case_id = c.case_id and s.model_version = c.model_version
    and c.state <> 'refused' and c.reached >= 'staged' and w.version is null and not p.held
left join nomogram_result as n
    on n.case_id = s.case_id and n.model_version = s.model_version and c.reached >= 'scored' and s.not_staged is null
left join lateral (
    -- The nomogram's stage is its likeliest, the lower one on a tie.
    select case greatest(n.p_t1, n.p_t2, n.p_t3, n.p_t4)
        when n.p_t1 then 'T1' when n.p_t2 then 'T2' when n.p_t3 then 'T3' when n.p_t4 then 'T4'
    end as t_stage
) as m on true
left join series_fact as f on f.case_id = c.case_id;

comment on view console_case is
    'Every case as the console shows it: its result, or why there is none. Holds no name, PatientID or birth date. Written '
    'by no step; read by the console and by gtr case read.';
comment on column console_case.outcome is
    'withdrawn or held (a result that is not shown), refused, failed, not_staged, staged, or unfinished.';

comment on column console_case.result is 'Digest of the result, by which a reader''s word names it; null where there is none.';
comment on column console_case.is_read is 'A reader agreed with this result or overruled it, and has not taken that back.';

grant select on console_case to gtr_console, gtr_app;
