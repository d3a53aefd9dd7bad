-- The stop switch: from a stop to the next resume nothing is staged and nothing is sent.
create table service_switch (
    service_switch_id bigint generated always as identity primary key,
    action            text not null check (action in ('stop', 'resume')),
    by_whom           text not null check (length(trim(by_whom)) between 1 and 200),
    why               text not null check (length(trim(why)) between 1 and 2000),
    at                timestamptz not null default clock_timestamp(),
    db_user           text not null default session_user,
    os_user           text not null default coalesce(nullif(current_setting('gtr.os_user', true), ''), 'not known')
);
comment on table service_switch is
    'The whole service stopped and resumed; the newest row holds, none means it runs. Append-only. Written by gtr stop, gtr '
    'resume and their DAGs.';
comment on column service_switch.db_user is 'The login that wrote this row (session_user).';
comment on column service_switch.os_user is 'The account of the operating system, as the client named it.';
create trigger service_switch_append_only before update or delete or truncate on service_switch
for each statement execute function append_only();
create trigger access_noted after insert on service_switch
for each row execute function access_noted('service.', 'switch', 'service_switch_id', 'by_whom');

-- To stop is always safe, so the night's own login may; to resume is a decision.
grant select on service_switch to gtr_app, gtr_governor;
grant insert (action, by_whom, why) on service_switch to gtr_app, gtr_governor;
alter table service_switch enable row level security;
create policy everybody_reads on service_switch for select using (true);
create policy the_app_stops on service_switch for insert to gtr_app with check (action = 'stop');
create policy the_governor_decides on service_switch for insert to gtr_governor with check (true);
