-- Who looked, approved, sent and changed what, in one table, for the hospital's audit repository.
create table access_event (
    access_event_id bigint generated always as identity primary key,
    at              timestamptz not null default clock_timestamp(),
    action          text not null check (action ~ '^[a-z]+\.[a-z_]+$'),
    object_kind     text not null check (object_kind ~ '^[a-z]+$'),
    object_id       text not null check (length(object_id) <= 200),
    actor           text not null check (length(trim(actor)) between 1 and 200),
    outcome         text not null default 'success' check (outcome in ('success', 'failure')),
    db_user         text not null default session_user,
    os_user         text not null default coalesce(nullif(current_setting('gtr.os_user', true), ''), 'not known'),
    -- In what order rows became visible: a row whose transaction is still open is not passed over.
    xact            xid8 not null default pg_current_xact_id()
);
comment on table access_event is
    'Who looked at, approved, sent or changed what, and how it ended. Ids of objects are opaque: no PatientID. Append-only. '
    'Written by the triggers access_noted, in the transaction of what was done, and by the commands and steps that read.';
comment on column access_event.actor is 'The name that was given, or gtr-batch for a step of a night.';
create index on access_event (xact, access_event_id);
create trigger access_event_append_only before update or delete or truncate on access_event
for each statement execute function append_only();

create table access_event_sent (
    access_event_sent_id bigint generated always as identity primary key,
    receiver             text not null,
    last_xact            xid8 not null,
    last_access_event_id bigint not null,
    sent_at              timestamptz not null default clock_timestamp()
);
comment on table access_event_sent is
    'Up to which row access_event was received by an audit repository; the newest row of a receiver holds. Append-only. '
    'Written by gtr audit-trail send.';
create index on access_event_sent (receiver, access_event_sent_id);
create trigger access_event_sent_append_only before update or delete or truncate on access_event_sent
for each statement execute function append_only();

grant select on access_event, access_event_sent to gtr_app, gtr_governor;
grant insert (action, object_kind, object_id, actor, outcome) on access_event to gtr_app, gtr_governor;
grant insert (receiver, last_xact, last_access_event_id) on access_event_sent to gtr_app;

-- Arguments: action, kind of object, column of its id, column of the actor (empty: gtr-batch). An action that ends in a
-- dot takes the row's own `action` behind it.
create function access_noted() returns trigger
language plpgsql security definer set search_path = pg_catalog, public
as $$
declare
    written jsonb := to_jsonb(new);
    did text := tg_argv[0];
begin
    if right(did, 1) = '.' then
        did := did || (written ->> 'action');
    end if;
    insert into public.access_event (action, object_kind, object_id, actor)
    values (did, tg_argv[1], written ->> tg_argv[2], coalesce(written ->> nullif(tg_argv[3], ''), 'gtr-batch'));
    return null;
end
$$;
comment on function access_noted is 'Notes a decision or a delivery in access_event, in the transaction that makes it.';
revoke all on function access_noted() from public;

create trigger access_noted after insert on model_event
for each row execute function access_noted('model.', 'model', 'version', 'by_whom');
create trigger access_noted after insert on model_document
for each row when (new.kind = 'approval') execute function access_noted('model.notices', 'model', 'version', 'by_whom');
create trigger access_noted after insert on setting_version
for each row execute function access_noted('setting.change', 'setting', 'name', 'by_whom');
create trigger access_noted after insert on drift_alarm_acknowledgment
for each row execute function access_noted('alarm.acknowledge', 'alarm', 'drift_alarm_id', 'by_whom');
create trigger access_noted after insert on restage_approval
for each row execute function access_noted('restage.approve', 'comparison', 'digest', 'by_whom');
create trigger access_noted after insert on holdout_opening
for each row execute function access_noted('holdout.open', 'cohort', 'digest', 'opened_by');
create trigger access_noted after insert on approval_answer
for each row when (new.approved)
execute function access_noted('approval.approve', 'question', 'approval_request_id', 'by_whom');
create trigger access_noted_no after insert on approval_answer
for each row when (not new.approved)
execute function access_noted('approval.reject', 'question', 'approval_request_id', 'by_whom');
create trigger access_noted after insert on case_event
for each row when (new.state = 'stored') execute function access_noted('report.send', 'case', 'case_id', '');
create trigger access_noted after insert on withdrawal_notice
for each row execute function access_noted('report.supersede', 'instance', 'withdrawn_uid', '');
