create table setting_version (
    setting_version_id bigint generated always as identity primary key,
    name               text not null check (name ~ '^[a-z_]+\.[a-z_]+$'),
    value              jsonb,
    by_whom            text not null check (length(trim(by_whom)) between 1 and 200),
    why                text not null check (length(trim(why)) between 1 and 2000),
    at                 timestamptz not null default clock_timestamp()
);
comment on table setting_version is
    'Governed settings (gate, delivery, eligibility): each change is a row, the newest of a name holds. Append-only. '
    'Written by gtr settings set.';
comment on column setting_version.value is 'Null: from here on the settings file holds again.';
create index on setting_version (name, setting_version_id);
create trigger setting_version_append_only before update or delete or truncate on setting_version
for each statement execute function append_only();

create table setting_snapshot (
    digest     text primary key check (digest ~ '^[0-9a-f]{64}$'),
    settings   jsonb not null,
    first_used timestamptz not null default clock_timestamp()
);
comment on table setting_snapshot is
    'Every set of governed settings, file and history together, that a night was ever opened under. Append-only. Written '
    'by query_pacs.';
create trigger setting_snapshot_append_only before update or delete or truncate on setting_snapshot
for each statement execute function append_only();

create table night_opening (
    night_opening_id bigint generated always as identity primary key,
    night            date not null references night,
    at               timestamptz not null default clock_timestamp(),
    model_version    text not null,
    settings_digest  text not null references setting_snapshot
);
comment on table night_opening is
    'Each time that a night was begun: by which model, under which settings; a result was made under the latest opening '
    'of its night before it. Append-only. Written by query_pacs.';
create index on night_opening (night, night_opening_id);
create trigger night_opening_append_only before update or delete or truncate on night_opening
for each statement execute function append_only();

grant select, insert on setting_version, setting_snapshot, night_opening to gtr_app;
