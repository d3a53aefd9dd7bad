create type model_state as enum ('candidate', 'shadow', 'champion', 'retired', 'withdrawn');

create table model_version (
    version       text primary key check (version ~ '^[0-9a-f]{64}$'),
    name          text not null,
    manifest      jsonb not null,
    folder        text not null,
    cohort_digest text references training_cohort,
    training      jsonb not null default '{}',
    state         model_state not null default 'candidate',
    registered_at timestamptz not null default clock_timestamp(),
    changed_at    timestamptz not null default clock_timestamp()
);
comment on table model_version is
    'Every model that was ever registered, by the digest of its manifest. Written by retraining and by gtr model.';
comment on column model_version.training is 'The training report as JSON.';

-- Exactly one champion at most, whatever two sessions do at once.
create unique index model_version_one_champion on model_version (state) where state = 'champion';

create table model_event (
    model_event_id bigint generated always as identity primary key,
    version        text not null references model_version,
    at             timestamptz not null default clock_timestamp(),
    from_state     model_state,
    to_state       model_state not null,
    by_whom        text not null check (length(trim(by_whom)) > 0),
    why            text not null check (length(trim(why)) > 0)
);
comment on table model_event is
    'What became of a model, who did it, when and why; append-only, one row a change, in the transaction of that change. '
    'Written by the registry.';
create index on model_event (version, model_event_id);

grant select, insert, update on model_version to gtr_app;
grant select, insert on model_event to gtr_app;
