-- name: save(case_id, model_version, champion_version, t_stage, champion_stage, probabilities, flags, features, logits, own_preparation, error)
-- What a challenger said of a case, or why it could not.
insert into shadow_result (
    case_id, model_version, champion_version, t_stage, champion_stage, probabilities, flags, features, logits,
    own_preparation, error
) values (
    %(case_id)s, %(model_version)s, %(champion_version)s, %(t_stage)s, %(champion_stage)s,
    %(probabilities)s::double precision[], %(flags)s, %(features)s::real[], %(logits)s::real[], %(own_preparation)s,
    %(error)s
)
on conflict (case_id, model_version) do update set
    champion_version = excluded.champion_version,
    t_stage = excluded.t_stage,
    champion_stage = excluded.champion_stage,
    probabilities = excluded.probabilities,
    flags = excluded.flags,
    features = excluded.features,
    logits = excluded.logits,
    own_preparation = excluded.own_preparation,
    error = excluded.error,
    staged_at = clock_timestamp();

-- name: done(case_ids, model_version)
-- Which of these cases a challenger has staged already.
select case_id from shadow_result
where case_id = any (%(case_ids)s::uuid[]) and model_version = %(model_version)s and t_stage is not null;

-- name: of_night(night)
-- What challengers said of a night's cases.
select s.model_version, s.champion_version, s.case_id, c.night, s.t_stage, s.champion_stage, s.error
from shadow_result as s join staging_case as c using (case_id)
where c.night = %(night)s
order by s.model_version, s.case_id;

-- name: of_model(model_version)
-- What a challenger ever said.
select
    s.model_version, s.champion_version, s.case_id, c.night, s.t_stage, s.champion_stage, s.probabilities, s.error
from shadow_result as s join staging_case as c using (case_id)
where s.model_version = %(model_version)s
order by c.night, s.case_id;
