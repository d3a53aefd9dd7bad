-- name: register(version, name, manifest, folder, cohort_digest, training)
-- A new candidate; one that is there already stays as it is.
insert into model_version (version, name, manifest, folder, cohort_digest, training)
values (%(version)s, %(name)s, %(manifest)s, %(folder)s, %(cohort_digest)s, %(training)s)
on conflict (version) do nothing
returning version;

-- name: note(version, from_state, to_state, by_whom, why)
-- What became of a model.
insert into model_event (version, from_state, to_state, by_whom, why)
values (%(version)s, %(from_state)s::model_state, %(to_state)s::model_state, %(by_whom)s, %(why)s);

-- name: state(version)
-- The state of a model.
select state::text as state from model_version where version = %(version)s;

-- name: champion()
-- The champion.
select version, folder from model_version where state = 'champion';

-- name: model(version)
-- All about a model.
select version, name, manifest, folder, cohort_digest, training, state::text as state, registered_at, changed_at
from model_version where version = %(version)s;

-- name: models()
-- All models, newest first.
select version, name, folder, cohort_digest, state::text as state, registered_at, changed_at
from model_version order by registered_at desc, version;

-- name: history(version)
-- What became of a model, oldest first.
select at, from_state::text as from_state, to_state::text as to_state, by_whom, why
from model_event where version = %(version)s order by model_event_id;
