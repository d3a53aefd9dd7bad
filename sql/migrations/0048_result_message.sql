-- Messages about results to other systems (RIS, FHIR server): an outbox, written in the transaction of what it tells.
create table result_message (
    result_message_id bigint generated always as identity primary key,
    case_id           uuid not null references staging_case,
    version           integer not null check (version > 0),
    kind              text not null check (kind in ('result', 'changed', 'withdrawn', 'reader')),
    model_version     text not null check (length(model_version) <= 100),
    content           jsonb not null,
    written_at        timestamptz not null default clock_timestamp(),
    unique (case_id, version)
);
comment on table result_message is
    'What another system is told of a case: one row a version of its result. The patient is not in it: whose it is, is read when it '
    'is sent. Append-only. Written by the step that brings a case to committed, by a replay, and by the withdrawal of a model.';
create trigger result_message_append_only before update or delete or truncate on result_message
for each statement execute function append_only();

create table result_sending (
    result_message_id bigint not null references result_message,
    channel           text not null check (channel in ('hl7', 'fhir')),
    case_id           uuid not null references staging_case,
    state             text not null default 'waiting' check (state in ('waiting', 'sent', 'dead', 'superseded')),
    tries             integer not null default 0 check (tries >= 0),
    next_try_at       timestamptz not null default clock_timestamp(),
    tried_at          timestamptz,
    ended_at          timestamptz,
    answer            text not null default '' check (length(answer) <= 200),
    primary key (result_message_id, channel)
);
comment on table result_sending is
    'Whether a message was taken by a system that the site has. A try is noted before it is made. Written by gtr ris send and by the '
    'withdrawal of a model.';
comment on column result_sending.answer is 'Code of the last answer, or the class of the error; never a text of the other side.';
create index on result_sending (channel, next_try_at) where state = 'waiting';
create index on result_sending (case_id);
create trigger access_noted after update on result_sending
for each row when (new.state = 'sent' and old.state <> 'sent')
execute function access_noted('report.message', 'case', 'case_id', '');

create table result_resend (
    result_resend_id  bigint generated always as identity primary key,
    result_message_id bigint not null references result_message,
    channel           text not null,
    case_id           uuid not null references staging_case,
    by_whom           text not null check (length(trim(by_whom)) between 1 and 200),
    why               text not null check (length(trim(why)) between 1 and 2000),
    at                timestamptz not null default clock_timestamp(),
    db_user           text not null default session_user,
    os_user           text not null default coalesce(nullif(current_setting('gtr.os_user', true), ''), 'not known')
);
comment on table result_resend is
    'Who had a message sent once more, and why. Append-only. Written by gtr ris resend.';
create trigger result_resend_append_only before update or delete or truncate on result_resend
for each statement execute function append_only();
create trigger access_noted after insert on result_resend
for each row execute function access_noted('report.resend', 'case', 'case_id', 'by_whom');

grant select on result_message, result_sending, result_resend to gtr_app, gtr_governor;
grant insert (case_id, version, kind, model_version, content) on result_message to gtr_app, gtr_governor;
grant insert (result_message_id, channel, case_id) on result_sending to gtr_app, gtr_governor;
grant update (state, tries, next_try_at, tried_at, ended_at, answer) on result_sending to gtr_app, gtr_governor;
grant insert (result_message_id, channel, case_id, by_whom, why) on result_resend to gtr_app;
