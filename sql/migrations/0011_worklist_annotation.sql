create view worklist_annotation as
select
    c.accession_number,
    c.study_uid,
    c.case_id,
    c.night,
    c.state::text as state,
    'c' || s.t_stage as ct,
    s.p_t1,
    s.p_t2,
    s.p_t3,
    s.p_t4,
    n.p_t1 as nomogram_p_t1,
    n.p_t2 as nomogram_p_t2,
    n.p_t3 as nomogram_p_t3,
    n.p_t4 as nomogram_p_t4,
    n.low as nomogram_low,
    n.high as nomogram_high,
    (n.points ->> 'total')::double precision as nomogram_points_total,
    n.missing as nomogram_missing,
    n.coefficients as nomogram_coefficients,
    case
        when s.case_id is null then '{}'::text[]
        when d.without_commitment and not 'no_storage_commitment' = any (s.flags)
            then s.flags || 'no_storage_commitment'::text
        else s.flags
    end as flags,
    c.refusal_code,
    c.refusal_sentence,
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
left join staging_result as s
    on s.case_id = c.case_id and s.model_version = c.model_version
    and c.state <> 'refused' and c.reached >= 'staged'
left join nomogram_result as n
    on n.case_id = s.case_id and n.model_version = s.model_version and c.reached >= 'scored'
left join lateral (
    select max(at) as delivered_at from case_event where case_id = c.case_id and state = 'committed'
) as e on true
left join lateral (
    select bool_or(not offered) as without_commitment from storage_commitment where case_id = c.case_id
) as d on true;

comment on view worklist_annotation is
    'The AI annotation of each study for the reading worklist: the latest result of the study, or why there is none. '
    'Holds no name, PatientID or birth date. Written by nobody; read by the console and the RIS.';
comment on column worklist_annotation.delivered_at is
    'When the PACS committed the objects (or listed them, where it offers no commitment); null until then.';
comment on column worklist_annotation.nomogram_low is 'Smallest P(T1..T4) over the possible values of what is missing.';

grant select on worklist_annotation to gtr_app, gtr_reader;
