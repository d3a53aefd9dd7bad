-- name: ask(asked_in, decision, subject, champion, verdict, triggered_by, shown)
-- A person is asked.
insert into approval_request (asked_in, decision, subject, champion, verdict, triggered_by, shown)
values (
    %(asked_in)s, %(decision)s, %(subject)s, %(champion)s, %(verdict)s, %(triggered_by)s, %(shown)s
);

-- name: newest(asked_in)
-- What was asked last there.
select approval_request_id as request_id, asked_in, decision, subject, champion, verdict, triggered_by, shown, at
from approval_request where asked_in = %(asked_in)s order by approval_request_id desc limit 1;

-- name: answer(request_id, approved, user_id, by_whom, why, responded_at)
-- What the person said; the same again changes nothing.
insert into approval_answer (approval_request_id, approved, user_id, by_whom, why, responded_at)
values (%(request_id)s, %(approved)s, %(user_id)s, %(by_whom)s, %(why)s, %(responded_at)s)
on conflict (approval_request_id) do nothing;

-- name: answered(request_id)
-- What the person said to a request.
select approved, user_id, by_whom, why, responded_at from approval_answer where approval_request_id = %(request_id)s;
