-- The canary: what each machine made of a model's own phantom series, before it staged patients with that model.
create table canary_event (
    canary_event_id bigint generated always as identity primary key,
    model_version   text not null check (model_version ~ '^[0-9a-f]{64}$'),
    outcome         text not null check (outcome in ('recorded', 'passed', 'failed', 'absent')),
    sentence        text not null,
    host            text not null,
    device          text not null default '',
    seconds         double precision not null default 0 check (seconds >= 0),
    canary_sha256   text not null default '' check (canary_sha256 ~ '^([0-9a-f]{64})?$'),
    night           date,
    deviations      jsonb not null default '[]',
    by_whom         text check (length(trim(by_whom)) between 1 and 200),
    why             text check (length(trim(why)) between 1 and 2000),
    at              timestamptz not null default clock_timestamp(),
    db_user         text not null default session_user,
    os_user         text not null default coalesce(nullif(current_setting('gtr.os_user', true), ''), 'not known'),
    check (outcome <> 'recorded' or (by_whom is not null and why is not null and canary_sha256 <> ''))
);
comment on table canary_event is
    'Every canary that was recorded or staged; append-only. No patient is staged where the newest of a model failed. No PHI. '
    'Written by the task canary, by a step that stages on a machine that showed none, by registration and gtr model canary.';
comment on column canary_event.canary_sha256 is 'SHA-256 of canary.zip; empty where there was none.';
comment on column canary_event.deviations is 'Each quantity with its distance from the recorded one and how far it may lie.';
comment on column canary_event.seconds is 'What it cost, with loading the model.';
create index on canary_event (model_version, canary_event_id);
create index on canary_event (night);
create trigger canary_event_append_only before update or delete or truncate on canary_event
for each statement execute function append_only();

create function canary_is_known(version text) returns boolean language sql stable security definer
set search_path = public, pg_temp as $$ select exists (select 1 from canary_event where model_version = version) $$;
comment on function canary_is_known is 'Whether anything was ever kept of a model''s canary.';

-- Who stages says what came of it, and registers a model with its first canary; to take another answer is a decision.
grant select on canary_event to gtr_app, gtr_governor;
grant insert (model_version, outcome, sentence, host, device, seconds, canary_sha256, night, deviations, by_whom, why)
on canary_event to gtr_app, gtr_governor;
alter table canary_event enable row level security;
create policy everybody_reads on canary_event for select using (true);
create policy the_app_stages on canary_event for insert to gtr_app
with check (outcome <> 'recorded' or not canary_is_known(model_version));
create policy the_governor_decides on canary_event for insert to gtr_governor with check (true);
