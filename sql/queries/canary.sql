-- name: note(model_version, outcome, sentence, host, device, seconds, canary_sha256, night, deviations, by_whom, why)
-- What came of a canary.
insert into canary_event
    (model_version, outcome, sentence, host, device, seconds, canary_sha256, night, deviations, by_whom, why)
values
    (
        %(model_version)s, %(outcome)s, %(sentence)s, %(host)s, %(device)s, %(seconds)s, %(canary_sha256)s, %(night)s,
        %(deviations)s, %(by_whom)s, %(why)s
    );

-- name: newest(model_version, since)
-- The newest of each machine since then, newest first; what was only recorded is none.
select * from (
    select distinct on (host) * from canary_event
    where model_version = %(model_version)s and outcome <> 'recorded' and at >= %(since)s
    order by host, canary_event_id desc
) as of_each order by canary_event_id desc;

-- name: expected(model_version)
-- The canary that a model must have: the one recorded last, or the first that was seen.
select canary_sha256 from canary_event where model_version = %(model_version)s and canary_sha256 <> ''
order by (outcome = 'recorded') desc, case when outcome = 'recorded' then -canary_event_id else canary_event_id end
limit 1;

-- name: of_night(night)
-- The newest of each machine and model in a night, newest first.
select * from (
    select distinct on (host, model_version) * from canary_event
    where night = %(night)s and outcome <> 'recorded' order by host, model_version, canary_event_id desc
) as of_each order by canary_event_id desc;

-- name: history(model_version)
-- Everything that is known of a model's canary, oldest first.
select * from canary_event where model_version = %(model_version)s order by canary_event_id;
