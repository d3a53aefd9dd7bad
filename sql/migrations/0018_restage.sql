create table restage_comparison (
    digest        text primary key check (digest ~ '^[0-9a-f]{64}$'),
    model_version text not null references model_version,
    wanted        jsonb not null,
    comparison    jsonb not null,
    made_at       timestamptz not null default clock_timestamp()
);
comment on table restage_comparison is
    'What a replay of nights or accession numbers with a model came to, beside what the cases carried; nothing of it was '
    'sent. The digest is over the answers, so the same replay is the same row. Append-only. No PHI. Written by restage.';
comment on column restage_comparison.wanted is 'The nights and the case ids that were replayed.';
create trigger restage_comparison_append_only before update or delete or truncate on restage_comparison
for each statement execute function append_only();

create table restage_approval (
    restage_approval_id bigint generated always as identity primary key,
    digest              text not null references restage_comparison,
    by_whom             text not null check (length(trim(by_whom)) between 1 and 200),
    why                 text not null check (length(trim(why)) between 1 and 2000),
    at                  timestamptz not null default clock_timestamp()
);
comment on table restage_approval is
    'Who let the results of a replay go to the PACS, and why. Append-only. Written by restage.';
create trigger restage_approval_append_only before update or delete or truncate on restage_approval
for each statement execute function append_only();

grant select, insert on restage_comparison, restage_approval to gtr_app;
