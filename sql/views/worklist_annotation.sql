-- The AI annotation of each study for the reading worklist: one row a study, no PHI. Read by the console and the RIS.
drop view if exists worklist_annotation;
create view worklist_annotation as
select
    c.accession_number,
    c.study_uid,
    c.case_id,
    c.night,
    c.state::text as state,
    'c' || case when n.is_primary then m.t_stage else s.t_stage end as ct,
    case when n.is_primary then n.p_t1 else s.p_t1 end as p_t1,
    case when n.is_primary then n.p_t2 else s.p_t2 end as p_t2,
    case when n.is_primary then n.p_t3 else s.p_t3 end as p_t3,
    case when n.is_primary then n.p_t4 else s.p_t4 end as p_t4,
    case when n.is_primary then 'nomogram' when s.case_id is not null then 'network' end as answer_by,
    case
        when s.set_lowest is null then null
        when s.set_lowest = s.set_highest then s.set_lowest
        else s.set_lowest || '-' || s.set_highest
    end || ' (' || round((100 * s.set_coverage)::numeric, 6)::double precision || '%)' as stage_set,
    case when n.is_primary then 'network' when n.case_id is not null then 'nomogram' end as supporting_by,
    'c' || case when n.is_primary then s.t_stage else m.t_stage end as supporting_ct,
    case when n.is_primary then s.p_t1 else n.p_t1 end as supporting_p_t1,
    case when n.is_primary then s.p_t2 else n.p_t2 end as supporting_p_t2,
    case when n.is_primary then s.p_t3 else n.p_t3 end as supporting_p_t3,
    case when n.is_primary then s.p_t4 else n.p_t4 end as supporting_p_t4,
    case
        when n.case_id is not null then 'available'
        when 'nomogram_not_available' = any (s.flags) then 'not available for this model'
    end as nomogram,
    n.low as nomogram_low,
    n.high as nomogram_high,
    (n.points ->> 'total')::double precision as nomogram_points_total,
    n.missing as nomogram_missing,
    n.coefficients as nomogram_coefficients,
    coalesce(s.flags, '{}'::text[]) as flags,
    case
        when w.version is not null then 'model_withdrawn'
        when p.held then 'delivery_paused'
        when s.not_staged is not null then s.not_staged
        else c.refusal_code
    end as refusal_code,
    case
        when w.version is not null
            then 'The model that staged this study was withdrawn; its result must not be used.'
        when p.held
            then 'The audit has raised an alarm about the model; its results are held back until a person has looked.'
        when s.not_staged is not null then s.not_staged_sentence
        else c.refusal_sentence
    end as refusal_sentence,
    s.key_slice_source,
    s.model_version,
    'AI result - not verified' as label,
    e.delivered_at
from (
    -- One case a study: the latest that has a result, else the latest of all.
    select distinct on (study_uid) *
    from staging_case
    order by
        study_uid,
        (state <> 'refused' and reached >= 'staged' and model_version is not null) desc,
        night desc,
        changed_at desc
) as c
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
left join lateral (
    select max(at) as delivered_at from case_event where case_id = c.case_id and state = 'committed'
) as e on true;

comment on view worklist_annotation is
    'The AI annotation of each study for the reading worklist: the latest result of the study, or why there is none. '
    'Holds no name, PatientID or birth date. Written by no step; read by the console and the RIS.';
comment on column worklist_annotation.refusal_code is
    'Why there is no result; model_withdrawn where there was one that must not be used any more, delivery_paused where '
    'there is one that is held back; unlike_reference or no_tumour_sign where the model gave no stage (its images are in '
    'the PACS all the same).';
comment on column worklist_annotation.delivered_at is
    'When the PACS committed the objects (or listed them, where it offers no commitment); null until then.';
comment on column worklist_annotation.nomogram_low is 'Smallest P(T1..T4) over the possible values of what is missing.';

comment on column worklist_annotation.answer_by is
    'Whose ct and p_t1 to p_t4 are: the network''s or the nomogram''s, as the site had set (report.primary). The other '
    'answer stands under supporting_*, and is not the answer.';
comment on column worklist_annotation.stage_set is
    'Neighbouring stages that hold the true one with the probability in brackets; null where the model has no such sets.';

grant select on worklist_annotation to gtr_app, gtr_reader;
