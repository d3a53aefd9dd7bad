create table audit_run (
    run_id        text primary key check (run_id ~ '^[0-9a-f]{64}$'),
    kind          text not null check (kind in ('week', 'month')),
    period        text not null check (period ~ '^[0-9]{4}-(W[0-9]{2}|[0-9]{2})$'),
    as_of         date not null,
    model_version text not null check (model_version ~ '^[0-9a-f]{64}$'),
    code_version  text not null,
    settings      jsonb not null,
    answer        text not null check (answer in ('yes', 'look', 'stop', 'cannot tell')),
    headline      jsonb not null,
    files         jsonb not null,
    asked_by      text not null check (length(trim(asked_by)) between 1 and 200),
    made_at       timestamptz not null default clock_timestamp()
);
comment on table audit_run is
    'Every audit that was run. The id is the SHA-256 of its inputs, so the same inputs are the same row; the inputs and '
    'the report lie in audit.folder. Append-only. No PHI. Written by drift_monitor, monthly_audit and gtr audit.';
comment on column audit_run.as_of is 'The day by whose end pathology had to be reported to count.';
comment on column audit_run.files is 'File of the report -> SHA-256.';
create index on audit_run (kind, period, made_at);
create trigger audit_run_append_only before update or delete or truncate on audit_run
for each statement execute function append_only();

create table drift_alarm (
    drift_alarm_id bigint generated always as identity primary key,
    monitor        text not null check (monitor ~ '^[a-z_]+$'),
    level          text not null check (level in ('look', 'stop')),
    night          date not null,
    epoch          date not null check (epoch <= night),
    model_version  text not null check (model_version ~ '^[0-9a-f]{64}$'),
    sentence       text not null,
    detail         jsonb not null,
    run_id         text not null references audit_run,
    raised_at      timestamptz not null default clock_timestamp(),
    unique (monitor, model_version, epoch)
);
comment on table drift_alarm is
    'A monitor of the audit that crossed its threshold: once for each model and epoch (the night from which the monitor '
    'watches). Append-only. No PHI. Written by drift_monitor, monthly_audit and gtr audit.';
comment on column drift_alarm.night is 'Last night of the data that crossed.';
create index on drift_alarm (run_id);
create trigger drift_alarm_append_only before update or delete or truncate on drift_alarm
for each statement execute function append_only();

-- The key makes it one an alarm, whatever two people do at once.
create table drift_alarm_acknowledgment (
    drift_alarm_id bigint primary key references drift_alarm,
    by_whom        text not null check (length(trim(by_whom)) between 1 and 200),
    note           text not null check (length(trim(note)) between 1 and 2000),
    restart        date,
    at             timestamptz not null default clock_timestamp()
);
comment on table drift_alarm_acknowledgment is
    'Who looked at an alarm and what they found; an alarm without a row here is open. Append-only. Written by gtr audit '
    'acknowledge.';
comment on column drift_alarm_acknowledgment.restart is
    'Night from which the monitor watches anew; null: it goes on in its epoch, in which it raises no second alarm.';
create trigger drift_alarm_acknowledgment_append_only before update or delete or truncate on drift_alarm_acknowledgment
for each statement execute function append_only();

create view drift_alarm_status as
select
    a.drift_alarm_id as alarm_id,
    a.monitor,
    a.level,
    a.night,
    a.epoch,
    a.model_version,
    a.sentence,
    a.detail,
    a.run_id,
    r.kind,
    r.period,
    a.raised_at,
    k.by_whom as acknowledged_by,
    k.at as acknowledged_at,
    k.note,
    k.restart
from drift_alarm as a
join audit_run as r using (run_id)
left join drift_alarm_acknowledgment as k using (drift_alarm_id);
comment on view drift_alarm_status is
    'Every alarm with the run that raised it and what became of it. No PHI. Written by nobody; read by audit and console.';

grant select, insert on audit_run, drift_alarm, drift_alarm_acknowledgment to gtr_app;
grant select on drift_alarm_status to gtr_app, gtr_reader;
