-- Persons in cohorts and audits appear as a keyed digest; the key is made here and leaves the database never.
create table subject_key (
    only_row boolean primary key default true check (only_row),
    key      text not null
);
comment on table subject_key is 'The secret behind subject_of. Written by this migration; read by that function alone.';
insert into subject_key (key) values (gen_random_uuid()::text || gen_random_uuid()::text);

create function subject_of(patient_id text) returns text
language sql stable security definer set search_path = pg_catalog, public
as $$
    select left(encode(sha256(convert_to(k.key || '|' || patient_id, 'UTF8')), 'hex'), 32) from public.subject_key as k
$$;
comment on function subject_of is 'A patient as a keyed digest: the same in every cohort and audit of this hospital.';
revoke all on function subject_of from public;
grant execute on function subject_of to gtr_app;

create table training_cohort (
    digest         text primary key check (digest ~ '^[0-9a-f]{64}$'),
    manifest       jsonb not null,
    holdout_digest text not null,
    frozen_at      timestamptz not null default clock_timestamp()
);
comment on table training_cohort is
    'Frozen cohorts: train and validation members, exclusions, flow, settings; of the holdout its digest and counts. '
    'Append-only. Written by retraining.';
grant select, insert on training_cohort to gtr_app;

-- The sealed part: nobody but the functions below reads it.
create table holdout_member (
    digest  text not null references training_cohort,
    subject text not null,
    member  jsonb not null,
    primary key (digest, subject)
);
comment on table holdout_member is
    'Sealed: the holdout of each cohort. The app may add members and cannot read them; open_holdout can. Written by '
    'retraining.';
grant insert on holdout_member to gtr_app;

create table holdout_subject (
    subject     text primary key,
    assigned_at timestamptz not null default clock_timestamp()
);
comment on table holdout_subject is
    'Who was ever sealed: a patient of one holdout is never trained on later. Digests only. Written by retraining.';
grant select, insert on holdout_subject to gtr_app;

create table holdout_opening (
    holdout_opening_id bigint generated always as identity primary key,
    digest             text not null references training_cohort,
    model_version      text not null,
    opened_by          text not null check (length(trim(opened_by)) > 0),
    why                text not null check (length(trim(why)) > 0),
    opened_at          timestamptz not null default clock_timestamp()
);
comment on table holdout_opening is
    'Every opening of a sealed holdout: for which registered model, by whom, why. Append-only. Written by open_holdout.';
grant select on holdout_opening to gtr_app;

create function open_holdout(cohort text, version text, who text, reason text) returns setof jsonb
language plpgsql security definer set search_path = pg_catalog, public
as $$
begin
    if not exists (select from public.training_cohort where digest = cohort) then
        raise exception 'no cohort %', left(cohort, 12) using errcode = 'GT001';
    end if;
    if not exists (select from public.model_version as m where m.version = open_holdout.version) then
        raise exception 'model % is not registered', left(version, 12) using errcode = 'GT002';
    end if;
    insert into public.holdout_opening (digest, model_version, opened_by, why) values (cohort, version, who, reason);
    return query select h.member from public.holdout_member as h where h.digest = cohort order by h.subject;
end
$$;
comment on function open_holdout is
    'The members of a sealed holdout, for a registered model only; leaves a row in holdout_opening.';
revoke all on function open_holdout from public;
grant execute on function open_holdout to gtr_app;
