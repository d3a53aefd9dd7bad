-- name: current()
-- What the history says now of each governed setting; one that was given back to the file does not come.
select name, value from (
    select distinct on (name) name, value from setting_version order by name, setting_version_id desc
) as newest where value is not null;

-- name: set(name, value, by_whom, why)
-- A new value.
insert into setting_version (name, value, by_whom, why) values (%(name)s, %(value)s, %(by_whom)s, %(why)s);

-- name: history()
-- Every change, oldest first.
select name, value, by_whom, why, at from setting_version order by setting_version_id;

-- name: save_snapshot(digest, settings)
-- The settings that a night is opened under.
insert into setting_snapshot (digest, settings) values (%(digest)s, %(settings)s) on conflict (digest) do nothing;

-- name: note_opening(night, model_version, settings_digest)
-- A night begins, or begins again.
insert into night_opening (night, model_version, settings_digest)
values (%(night)s, %(model_version)s, %(settings_digest)s);

-- name: snapshot(digest)
-- The settings behind a digest.
select settings from setting_snapshot where digest = %(digest)s;

-- name: made_under(case_id)
-- Under which opening of its night, or replay of it, a case's result was made.
select o.at, o.model_version, o.settings_digest
from staging_case as c
join staging_result as r using (case_id, model_version)
join night_opening as o on o.night = c.night and o.model_version = c.model_version and o.at <= r.staged_at
where c.case_id = %(case_id)s
order by o.night_opening_id desc limit 1;
