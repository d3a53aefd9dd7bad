-- A reader looked at an automatic key slice and confirmed or moved it: only then may the case be learnt from.
create table key_slice_confirmation (
    key_slice_confirmation_id bigint generated always as identity primary key,
    case_id                   uuid not null references staging_case,
    was                       text not null,
    slices                    text[] not null check (cardinality(slices) = 3),
    by_whom                   text not null check (length(trim(by_whom)) between 1 and 200),
    why                       text not null check (length(trim(why)) between 1 and 2000),
    at                        timestamptz not null default clock_timestamp(),
    db_user                   text default session_user,
    os_user                   text default nullif(current_setting('gtr.os_user', true), '')
);
comment on table key_slice_confirmation is
    'Which slice a reader says is the key slice of a case whose key slice was found automatically; the newest row of a case '
    'holds. Append-only. No PHI. Written by gtr case confirm-slice.';
comment on column key_slice_confirmation.was is 'SOP Instance UID of the key slice that was found automatically.';
comment on column key_slice_confirmation.slices is 'SOP Instance UIDs below, key and above, as the reader has it.';
create index on key_slice_confirmation (case_id, key_slice_confirmation_id);
create trigger key_slice_confirmation_append_only before update or delete or truncate on key_slice_confirmation
for each statement execute function append_only();
create trigger access_noted after insert on key_slice_confirmation
for each row execute function access_noted('case.confirm_slice', 'case', 'case_id', 'by_whom');

grant select on key_slice_confirmation to gtr_app, gtr_governor;
grant insert (case_id, was, slices, by_whom, why) on key_slice_confirmation to gtr_governor;
