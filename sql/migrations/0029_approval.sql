-- A question to a person and the answer, as the system that asked them authenticated it. What is carried out is what these
-- rows say, not what stands in a workflow's own variables, which its users may change.
create table approval_request (
    approval_request_id bigint generated always as identity primary key,
    asked_in            text not null check (length(asked_in) between 1 and 600),
    decision            text not null check (decision in ('promote', 'restage')),
    subject             text not null check (subject ~ '^[0-9a-f]{64}$'),
    champion            text,
    verdict             text not null default '',
    triggered_by        text not null default '',
    shown               text not null,
    at                  timestamptz not null default clock_timestamp(),
    db_user             text default session_user,
    os_user             text default nullif(current_setting('gtr.os_user', true), '')
);
comment on table approval_request is
    'What a person was asked: to promote a model in the place of a champion, or to let a replay go to the PACS, with the '
    'text they were shown. Append-only. No PHI. Written by the tasks approve of retraining and restage.';
comment on column approval_request.asked_in is 'DAG, run and task; the newest request there is the one that counts.';
comment on column approval_request.subject is 'Model version, or digest of a comparison.';
comment on column approval_request.triggered_by is 'Who started the run; empty: a schedule or an alarm.';
create index on approval_request (asked_in, approval_request_id);
create trigger approval_request_append_only before update or delete or truncate on approval_request
for each statement execute function append_only();

create table approval_answer (
    approval_request_id bigint primary key references approval_request,
    approved            boolean not null,
    user_id             text not null check (length(trim(user_id)) between 1 and 200),
    by_whom             text not null check (length(trim(by_whom)) between 1 and 200),
    why                 text not null check (length(trim(why)) between 1 and 2000),
    responded_at        timestamptz not null,
    at                  timestamptz not null default clock_timestamp(),
    db_user             text default session_user,
    os_user             text default nullif(current_setting('gtr.os_user', true), '')
);
comment on table approval_answer is
    'What the person said, once a request. Append-only. Written by the tasks approve of retraining and restage.';
comment on column approval_answer.user_id is 'The user as Airflow authenticated them.';
create trigger approval_answer_append_only before update or delete or truncate on approval_answer
for each statement execute function append_only();

grant select on approval_request, approval_answer to gtr_app, gtr_governor;
grant insert (asked_in, decision, subject, champion, verdict, triggered_by, shown) on approval_request to gtr_governor;
grant insert (approval_request_id, approved, user_id, by_whom, why, responded_at) on approval_answer to gtr_governor;
