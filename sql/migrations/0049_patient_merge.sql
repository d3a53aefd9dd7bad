-- What the RIS said of merged patients (ADT^A40): kept before it is acknowledged, and applied once the PACS has it too.
create table patient_merge (
    patient_merge_id bigint generated always as identity primary key,
    sender           text not null check (length(sender) <= 200),
    control_id       text not null check (length(control_id) between 1 and 200),
    place            integer not null check (place > 0),
    old_id           text not null check (length(old_id) between 1 and 64),
    old_issuer       text not null default '' check (length(old_issuer) <= 64),
    new_id           text not null check (length(new_id) between 1 and 64),
    new_issuer       text not null default '' check (length(new_issuer) <= 64),
    peer             text not null check (length(peer) <= 100),
    received_at      timestamptz not null default clock_timestamp(),
    unique (sender, control_id, place)
);
comment on table patient_merge is
    'Each statement that a patient has another PatientID from now on, in the order in which they came; a message may hold several. '
    'An alias: a case that is found later under the old PatientID is known by it. Append-only. Written by gtr ris listen.';
create index on patient_merge (old_id);
create trigger patient_merge_append_only before update or delete or truncate on patient_merge
for each statement execute function append_only();
create trigger access_noted after insert on patient_merge
for each row execute function access_noted('patient.merge', 'merge', 'patient_merge_id', 'sender');

create table patient_merge_case (
    patient_merge_case_id bigint generated always as identity primary key,
    case_id               uuid not null references staging_case,
    patient_merge_id      bigint not null references patient_merge,
    rekeyed_at            timestamptz not null default clock_timestamp()
);
comment on table patient_merge_case is
    'Which case has another PatientID since a merge, by the last of the merges that led to it. Append-only. Written by gtr ris '
    'apply-merges, by gtr ris listen and by housekeeping.';
create trigger patient_merge_case_append_only before update or delete or truncate on patient_merge_case
for each statement execute function append_only();

create index on staging_case (patient_id);

grant select on patient_merge, patient_merge_case to gtr_app, gtr_governor;
grant insert (sender, control_id, place, old_id, old_issuer, new_id, new_issuer, peer) on patient_merge to gtr_app;
grant insert (case_id, patient_merge_id) on patient_merge_case to gtr_app;
