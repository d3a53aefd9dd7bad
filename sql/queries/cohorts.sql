-- name: candidates()
-- Every operated patient, once for each staged series of theirs (or once without); persons as keyed digests. Where a
-- reader confirmed or moved the key slice, the slices are the reader's.
select
    subject_of(s.patient_id) as subject,
    s.operated_on, s.reported_on, s.classification, s.t_category::text as t_category,
    c.case_id, c.study_uid, c.series_uid, coalesce(c.study_at::date, c.night) as study_on,
    case when k.slices is null then r.key_slice_source else 'reader' end as key_slice_source,
    coalesce(
        k.slices,
        array(
            select l.sop_instance_uid from slice_result as l
            where l.case_id = r.case_id and l.model_version = r.model_version
            order by l.position
        )
    ) as slices,
    trim(concat_ws(' ', f.facts ->> 'manufacturer', f.facts ->> 'model')) as scanner,
    exists (
        select from ehr_treatment as t
        where t.patient_id = s.patient_id
            and t.started_on >= coalesce(c.study_at::date, c.night) and t.started_on < s.operated_on
    ) as treated_before_surgery,
    u.size_cm, u.location, b.differentiation, b.lauren, p.sex,
    m.cea_ng_ml, m.ca19_9_u_ml, m.ca72_4_u_ml, m.ca125_u_ml, m.afp_ng_ml, m.pd_l1_percent,
    extract(year from age(coalesce(c.study_at::date, c.night, s.operated_on), p.birth_date))::int as age_years
from ehr_surgery as s
join ehr_patient as p on p.patient_id = s.patient_id
left join staging_case as c
    on c.patient_id = s.patient_id and c.state <> 'refused' and c.reached >= 'staged' and c.model_version is not null
left join staging_result as r on r.case_id = c.case_id and r.model_version = c.model_version
left join lateral (
    select slices from key_slice_confirmation as f
    where f.case_id = r.case_id
        -- A mark goes before a word on another result; a word on this one was said by a reader who was shown the mark.
        and (r.key_slice_source = 'automatic' or exists (
            select from reader_word as w
            where w.reader_word_id = f.reader_word_id and w.result = result_digest(r.case_id, r.model_version)
        ))
        and not exists (select from reader_word as b where b.withdraws = f.reader_word_id)
    order by key_slice_confirmation_id desc limit 1
) as k on true
left join series_fact as f on f.case_id = c.case_id
left join lateral (
    select size_cm, location from ehr_tumour
    where patient_id = s.patient_id and measured_on <= coalesce(c.study_at::date, c.night) and size_cm is not null
    order by measured_on desc limit 1
) as u on true
left join lateral (
    select lauren, differentiation from ehr_biopsy
    where patient_id = s.patient_id and site = 'stomach' and biopsy_date <= coalesce(c.study_at::date, c.night)
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
    where patient_id = s.patient_id and sampled_on <= coalesce(c.study_at::date, c.night)
) as m on true
order by subject, s.operated_on, c.study_uid, c.series_uid;

-- name: freeze(digest, manifest, holdout_digest)
-- Keep a cohort; the same one again changes nothing.
insert into training_cohort (digest, manifest, holdout_digest) values (%(digest)s, %(manifest)s, %(holdout_digest)s)
on conflict do nothing;

-- name: seal(digest, subject, member)
-- One sealed member.
insert into holdout_member (digest, subject, member) values (%(digest)s, %(subject)s, %(member)s) on conflict do nothing;

-- name: seal_subject(subject)
-- Who is sealed once stays sealed.
insert into holdout_subject (subject) values (%(subject)s) on conflict do nothing;

-- name: cohort(digest)
-- A frozen cohort.
select manifest from training_cohort where digest = %(digest)s;

-- name: sealed_subjects()
-- Who was ever in a holdout.
select subject from holdout_subject;

-- name: trained_subjects()
-- Who was ever in a train or validation split.
select distinct m ->> 'subject' as subject
from training_cohort as c, jsonb_array_elements(c.manifest -> 'members') as m;

-- name: open_holdout(digest, version, by_whom, why)
-- The sealed members, for a registered model only; leaves a row.
select m as member from open_holdout(%(digest)s, %(version)s, %(by_whom)s, %(why)s) as m;
