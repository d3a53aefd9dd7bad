-- name: hold_steps()
-- A step that may write a message: any number at once, and none beside the withdrawal of a model. Before any other lock.
select pg_advisory_xact_lock_shared(hashtext('gtr_batch.result_message'));

-- name: hold_withdrawal()
-- The withdrawal of a model: after every step that may write a message, and before every later one.
select pg_advisory_xact_lock(hashtext('gtr_batch.result_message'));

-- name: write_result(case_id)
-- The result that a committed case carries, as a version of its own; no row comes back where the newest says the same.
with made as (
    select c.case_id, c.model_version, jsonb_build_object(
        'staging', jsonb_build_object(
            'model_version', s.model_version, 't_stage', s.t_stage,
            'p_t1', s.p_t1, 'p_t2', s.p_t2, 'p_t3', s.p_t3, 'p_t4', s.p_t4,
            'key_slice_source', s.key_slice_source, 'flags', to_jsonb(s.flags),
            'set_lowest', s.set_lowest, 'set_highest', s.set_highest, 'set_coverage', s.set_coverage,
            'not_staged', s.not_staged, 'not_staged_sentence', s.not_staged_sentence,
            'not_staged_numbers', s.not_staged_numbers
        ),
        'score', case when n.case_id is not null then jsonb_build_object(
            'rad_score_sd', n.rad_score_sd, 'rad_score_clipped', n.rad_score_clipped,
            'linear_predictor', n.linear_predictor, 'points', n.points,
            'p_t1', n.p_t1, 'p_t2', n.p_t2, 'p_t3', n.p_t3, 'p_t4', n.p_t4,
            'low', to_jsonb(n.low), 'high', to_jsonb(n.high), 'missing', to_jsonb(n.missing),
            'coefficients', n.coefficients, 'is_primary', n.is_primary
        ) end
    ) as content
    from staging_case as c
    join staging_result as s on s.case_id = c.case_id and s.model_version = c.model_version
    left join nomogram_result as n
        on n.case_id = s.case_id and n.model_version = s.model_version and s.not_staged is null
    where c.case_id = %(case_id)s
),
newest as (
    select version, kind, content from result_message where case_id = %(case_id)s order by version desc limit 1
)
insert into result_message (case_id, version, kind, model_version, content)
select
    m.case_id, coalesce(w.version, 0) + 1, case when w.version is null then 'result' else 'changed' end,
    m.model_version, m.content
from made as m
left join newest as w on true
where w.version is null or w.kind = 'withdrawn' or w.content - 'reader' is distinct from m.content
returning result_message_id;

-- name: send_over(result_message_id, channel, case_id)
-- A system that a message is to go to.
insert into result_sending (result_message_id, channel, case_id)
values (%(result_message_id)s, %(channel)s, %(case_id)s);

-- name: hold_of_model(model_version)
-- What is to be sent, or was sent, of a model's results, held until the transaction ends.
select d.result_message_id from result_sending as d join result_message as m using (result_message_id)
where m.model_version = %(model_version)s
order by d.result_message_id, d.channel
for update of d;

-- name: write_withdrawals(model_version)
-- That a result is withdrawn, for each case whose newest version is of this model and went out, or may have.
insert into result_message (case_id, version, kind, model_version, content)
select m.case_id, m.version + 1, 'withdrawn', m.model_version, '{}'
from result_message as m
where m.model_version = %(model_version)s and m.kind <> 'withdrawn'
    and m.version = (select max(o.version) from result_message as o where o.case_id = m.case_id)
    and exists (select from result_sending as d where d.case_id = m.case_id and d.tries > 0)
returning result_message_id, case_id;

-- name: withdraw_over(result_message_id)
-- A withdrawal goes to every system that was ever tried with a result of the case.
insert into result_sending (result_message_id, channel, case_id)
select distinct w.result_message_id, d.channel, w.case_id
from result_message as w join result_sending as d using (case_id)
where w.result_message_id = %(result_message_id)s and d.tries > 0;

-- name: supersede(model_version)
-- Results of a withdrawn model that wait are not sent any more.
update result_sending as d set state = 'superseded', ended_at = clock_timestamp()
from result_message as m
where m.result_message_id = d.result_message_id and m.model_version = %(model_version)s
    and m.kind <> 'withdrawn' and d.state = 'waiting';

-- name: next(channel)
-- The message that is due longest and has no earlier one of its case before it; held until it is claimed.
select
    d.result_message_id, d.tries, m.version, m.kind, m.model_version as message_model, m.content, m.written_at,
    coalesce(v.state = 'withdrawn', false) as model_withdrawn, c.*
from result_sending as d
join result_message as m using (result_message_id)
join staging_case as c on c.case_id = m.case_id
left join model_version as v on v.version = m.model_version
where d.channel = %(channel)s and d.state = 'waiting' and d.next_try_at <= clock_timestamp()
    and not exists (
        select from result_sending as e join result_message as o using (result_message_id)
        where e.case_id = d.case_id and e.channel = d.channel and e.state = 'waiting' and o.version < m.version
    )
order by d.next_try_at, d.result_message_id
limit 1
for update of d skip locked;

-- name: claim(result_message_id, channel, seconds)
-- A try begins: noted before anything is sent, so that one that is cut off is known, and not made twice at once.
update result_sending set
    tries = tries + 1,
    tried_at = clock_timestamp(),
    next_try_at = clock_timestamp() + make_interval(secs => %(seconds)s)
where result_message_id = %(result_message_id)s and channel = %(channel)s;

-- name: end(result_message_id, channel, state, answer)
-- It was taken, is not tried any more, or is not to be sent.
update result_sending set state = %(state)s, answer = %(answer)s, ended_at = clock_timestamp()
where result_message_id = %(result_message_id)s and channel = %(channel)s and state = 'waiting';

-- name: wait(result_message_id, channel, seconds, answer)
-- It is tried again.
update result_sending set
    answer = %(answer)s,
    next_try_at = clock_timestamp() + make_interval(secs => %(seconds)s)
where result_message_id = %(result_message_id)s and channel = %(channel)s and state = 'waiting';

-- name: counts(channel)
-- How many wait and how many are dead letters, and since when the oldest waits.
select
    count(*) filter (where d.state = 'waiting') as waiting,
    count(*) filter (where d.state = 'waiting' and d.next_try_at <= clock_timestamp()) as due,
    count(*) filter (where d.state = 'dead') as dead,
    min(m.written_at) filter (where d.state = 'waiting') as oldest
from result_sending as d join result_message as m using (result_message_id)
where d.channel = %(channel)s and d.state in ('waiting', 'dead');

-- name: list(states, most)
-- Messages with what became of them, newest first.
select
    d.result_message_id, d.channel, d.case_id::text as case_id, m.version, m.kind, m.model_version, d.state, d.tries, d.answer,
    m.written_at, d.tried_at, d.next_try_at, d.ended_at
from result_sending as d join result_message as m using (result_message_id)
where d.state = any (%(states)s)
order by d.result_message_id desc, d.channel
limit %(most)s;

-- name: hold(result_message_id, channel)
-- One message and its system, held; with the newest version of its case.
select
    d.state, d.case_id::text as case_id, m.version,
    (select max(o.version) from result_message as o where o.case_id = m.case_id) as newest
from result_sending as d join result_message as m using (result_message_id)
where d.result_message_id = %(result_message_id)s and d.channel = %(channel)s
for update of d;

-- name: again(result_message_id, channel)
-- It waits again, as if it had not been tried for want of an answer; that it was tried stays.
update result_sending set state = 'waiting', tries = 1, next_try_at = clock_timestamp(), ended_at = null
where result_message_id = %(result_message_id)s and channel = %(channel)s;

-- name: note_resend(result_message_id, channel, case_id, by_whom, why)
-- Who wanted that.
insert into result_resend (result_message_id, channel, case_id, by_whom, why)
values (%(result_message_id)s, %(channel)s, %(case_id)s, %(by_whom)s, %(why)s);

-- name: newest_version(case_id)
-- The newest version of a case.
select version from result_message where case_id = %(case_id)s order by version desc limit 1;
