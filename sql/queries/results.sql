-- name: staged_before(series_uids, model_version)
-- Which of these series have a result of this model version.
select distinct c.series_uid
from staging_case as c
join staging_result as r using (case_id)
where c.series_uid = any (%(series_uids)s) and r.model_version = %(model_version)s
    and c.reached >= 'staged' and c.state <> 'refused';

-- name: save_staging(case_id, model_version, t_stage, p_t1, p_t2, p_t3, p_t4, not_staged, not_staged_sentence, not_staged_numbers, key_slice_source, flags, set_lowest, set_highest, set_coverage)
-- A case's vote and probabilities by this model version, or why it gives no stage.
insert into staging_result (
    case_id, model_version, t_stage, p_t1, p_t2, p_t3, p_t4, not_staged, not_staged_sentence, not_staged_numbers,
    key_slice_source, flags, set_lowest, set_highest, set_coverage
) values (
    %(case_id)s, %(model_version)s, %(t_stage)s, %(p_t1)s, %(p_t2)s, %(p_t3)s, %(p_t4)s, %(not_staged)s,
    %(not_staged_sentence)s, %(not_staged_numbers)s, %(key_slice_source)s, %(flags)s, %(set_lowest)s, %(set_highest)s,
    %(set_coverage)s
)
on conflict (case_id, model_version) do update set
    t_stage = excluded.t_stage,
    p_t1 = excluded.p_t1,
    p_t2 = excluded.p_t2,
    p_t3 = excluded.p_t3,
    p_t4 = excluded.p_t4,
    not_staged = excluded.not_staged,
    not_staged_sentence = excluded.not_staged_sentence,
    not_staged_numbers = excluded.not_staged_numbers,
    key_slice_source = excluded.key_slice_source,
    flags = excluded.flags,
    set_lowest = excluded.set_lowest,
    set_highest = excluded.set_highest,
    set_coverage = excluded.set_coverage,
    staged_at = clock_timestamp();

-- name: add_flags(case_id, flags)
-- Flags that the result which a case carries has not yet, behind those that it has.
update staging_result as r set flags = r.flags || (
    select coalesce(array_agg(f order by place), '{}')
    from unnest(%(flags)s::text[]) with ordinality as added (f, place)
    where not f = any (r.flags)
)
from staging_case as c
where c.case_id = %(case_id)s and r.case_id = c.case_id and r.model_version = c.model_version;

-- name: clear_slices(case_id, model_version)
-- The slices of an earlier run of this step.
delete from slice_result where case_id = %(case_id)s and model_version = %(model_version)s;

-- name: save_slice(case_id, model_version, position, role, sop_instance_uid, t_stage, p_t1, p_t2, p_t3, p_t4)
-- One slice's probabilities.
insert into slice_result (case_id, model_version, position, role, sop_instance_uid, t_stage, p_t1, p_t2, p_t3, p_t4)
values (
    %(case_id)s, %(model_version)s, %(position)s, %(role)s, %(sop_instance_uid)s, %(t_stage)s, %(p_t1)s, %(p_t2)s,
    %(p_t3)s, %(p_t4)s
);

-- name: carry(case_id, model_version)
-- This result is the one that the case carries now.
update staging_case set model_version = %(model_version)s, changed_at = clock_timestamp()
where case_id = %(case_id)s and model_version is distinct from %(model_version)s;

-- name: staging(case_id)
-- The result that a case carries.
select r.* from staging_case as c join staging_result as r using (case_id, model_version)
where c.case_id = %(case_id)s;

-- name: slices(case_id, model_version)
-- Its slices, in the order below, key, above.
select * from slice_result where case_id = %(case_id)s and model_version = %(model_version)s order by position;

-- name: save_facts(case_id, facts)
-- What validation measured of a series.
insert into series_fact (case_id, facts) values (%(case_id)s, %(facts)s)
on conflict (case_id) do update set facts = excluded.facts, noted_at = clock_timestamp();

-- name: facts(case_id)
-- What validation measured of a series.
select facts from series_fact where case_id = %(case_id)s;

-- name: save_features(case_id, model_version, features, logits)
-- The key slice's features and the three slices' logits.
insert into case_feature (case_id, model_version, features, logits)
values (%(case_id)s, %(model_version)s, %(features)s::real[], %(logits)s::real[])
on conflict (case_id, model_version) do update set features = excluded.features, logits = excluded.logits;

-- name: features(case_id, model_version)
-- What a model version saw of a case.
select features, logits from case_feature where case_id = %(case_id)s and model_version = %(model_version)s;

-- name: save_score(case_id, model_version, coefficients, rad_score_sd, rad_score_clipped, linear_predictor, points, p_t1, p_t2, p_t3, p_t4, low, high, missing, tumour_size_cm, differentiation, lauren, is_primary)
-- The nomogram's answer and the covariates it was computed from.
insert into nomogram_result (
    case_id, model_version, coefficients, rad_score_sd, rad_score_clipped, linear_predictor, points, p_t1, p_t2, p_t3,
    p_t4, low, high, missing, tumour_size_cm, differentiation, lauren, is_primary
) values (
    %(case_id)s, %(model_version)s, %(coefficients)s, %(rad_score_sd)s, %(rad_score_clipped)s, %(linear_predictor)s,
    %(points)s, %(p_t1)s, %(p_t2)s, %(p_t3)s, %(p_t4)s, %(low)s, %(high)s, %(missing)s, %(tumour_size_cm)s,
    %(differentiation)s, %(lauren)s, %(is_primary)s
)
on conflict (case_id, model_version) do update set
    coefficients = excluded.coefficients,
    rad_score_sd = excluded.rad_score_sd,
    rad_score_clipped = excluded.rad_score_clipped,
    linear_predictor = excluded.linear_predictor,
    points = excluded.points,
    p_t1 = excluded.p_t1,
    p_t2 = excluded.p_t2,
    p_t3 = excluded.p_t3,
    p_t4 = excluded.p_t4,
    low = excluded.low,
    high = excluded.high,
    missing = excluded.missing,
    tumour_size_cm = excluded.tumour_size_cm,
    differentiation = excluded.differentiation,
    lauren = excluded.lauren,
    is_primary = excluded.is_primary,
    scored_at = clock_timestamp();

-- name: score(case_id)
-- The nomogram's answer on the result that a case carries; none where that has no stage.
select n.* from staging_case as c
join staging_result as r using (case_id, model_version)
join nomogram_result as n using (case_id, model_version)
where c.case_id = %(case_id)s and r.not_staged is null;
