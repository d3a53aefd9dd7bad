create type model_state as enum ('candidate', 'shadow', 'champion', 'retired', 'withdrawn');

create table model_version (
    version       text primary key check (version ~ '^[0-9a-f]{64}$'),
    name          text not null,
    manifest      jsonb not null,
    folder        text not null,
    cohort_digest text not null default '',
    state         model_state not null default 'candidate',
    registered_at timestamptz not null default clock_timestamp(),
    changed_at    timestamptz not null default clock_timestamp()
);
comment on table model_version is
    'Every model that was ever registered, by the digest of its manifest. Written by retraining and gtr model; its state '
    'only by a row in model_event.';
comment on column model_version.folder is 'Where its files lie: <training.models>/<version>.';

-- Exactly one champion at most, whatever two sessions do at once.
create unique index model_version_one_champion on model_version (state) where state = 'champion';

create table model_event (
    model_event_id bigint generated always as identity primary key,
    version        text not null references model_version,
    at             timestamptz not null default clock_timestamp(),
    action         text not null
        check (action in ('register', 'adopt', 'shadow', 'promote', 'rollback', 'retire', 'withdraw')),
    from_state     model_state,
    to_state       model_state not null,
    by_whom        text not null check (length(trim(by_whom)) between 1 and 200),
    why            text not null check (length(trim(why)) between 1 and 2000)
);
comment on table model_event is
    'What became of a model, who did it, when and why; append-only. Writing a row is the only way to change a state. '
    'Written by retraining and gtr model.';
create index on model_event (version, model_event_id);

create function model_event_applies() returns trigger
language plpgsql security definer set search_path = pg_catalog, public
as $$
begin
    if new.from_state is null then
        -- A version's first event: it is there already, as a candidate, and has no history yet.
        if new.to_state <> 'candidate' or exists (select from public.model_event where version = new.version) then
            raise exception 'a model begins as a candidate, once' using errcode = 'GT010';
        end if;
        return new;
    end if;
    if not (new.from_state, new.to_state) in (
        ('candidate', 'shadow'), ('candidate', 'champion'), ('candidate', 'retired'), ('candidate', 'withdrawn'),
        ('shadow', 'champion'), ('shadow', 'retired'), ('shadow', 'withdrawn'),
        ('champion', 'retired'), ('champion', 'withdrawn'),
        ('retired', 'shadow'), ('retired', 'champion'), ('retired', 'withdrawn')
    ) then
        raise exception 'a model does not go from % to %', new.from_state, new.to_state using errcode = 'GT011';
    end if;
    update public.model_version set state = new.to_state, changed_at = new.at
    where version = new.version and state = new.from_state;
    if not found then
        raise exception 'the model is not % any more', new.from_state using errcode = 'GT012';
    end if;
    return new;
end
$$;
comment on function model_event_applies is 'A change of state and its history are one row, so they cannot differ.';
create trigger model_event_applies before insert on model_event for each row execute function model_event_applies();

create function append_only() returns trigger
language plpgsql
as $$
begin
    raise exception 'table % is append-only', tg_table_name using errcode = 'GT013';
end
$$;
comment on function append_only is 'Refuses update, delete and truncate, also to the owner.';
create trigger model_event_append_only before update or delete or truncate on model_event
for each statement execute function append_only();

create table model_document (
    model_document_id bigint generated always as identity primary key,
    version           text not null references model_version,
    kind              text not null check (kind in ('training_report', 'gate', 'model_card', 'approval')),
    at                timestamptz not null default clock_timestamp(),
    by_whom           text not null check (length(trim(by_whom)) > 0),
    content           jsonb not null
);
comment on table model_document is
    'What was said of a model: training report, gate verdict, model card, approval; append-only, the newest of a kind '
    'holds. No PHI. Written by retraining and gtr model.';
create index on model_document (version, kind, model_document_id);
create trigger model_document_append_only before update or delete or truncate on model_document
for each statement execute function append_only();

create table withdrawal_notice (
    withdrawn_uid text primary key references report_object,
    version       text not null references model_version,
    notice_uid    text not null,
    written_at    timestamptz not null default clock_timestamp()
);
comment on table withdrawal_notice is
    'Which structured report of a withdrawn model was superseded by which notice. Written by withdrawal.';

grant select on model_version, model_event, model_document, withdrawal_notice to gtr_app;
grant insert (version, name, manifest, folder, cohort_digest) on model_version to gtr_app;
grant insert on model_event, model_document, withdrawal_notice to gtr_app;
