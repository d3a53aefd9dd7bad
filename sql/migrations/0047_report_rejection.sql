-- A withdrawn report is also rejected in the PACS by a key object (IHE IOCM), where the site wants that.
alter table report_object drop constraint report_object_kind_check;
alter table report_object add constraint report_object_kind_check
    check (kind in ('structured_report', 'parametric_map', 'secondary_capture', 'key_objects', 'rejection'));

create table report_rejection (
    withdrawn_uid text primary key references report_object,
    version       text not null references model_version,
    rejection_uid text not null,
    written_at    timestamptz not null default clock_timestamp(),
    db_user       text not null default session_user
);
comment on table report_rejection is
    'Which structured report of a withdrawn model was rejected, with its pictures, by which key object (113037, DCM). '
    'Append-only. Written by withdrawal.';
create trigger report_rejection_append_only before update or delete or truncate on report_rejection
for each statement execute function append_only();
create trigger access_noted after insert on report_rejection
for each row execute function access_noted('report.reject', 'instance', 'withdrawn_uid', '');
grant select on report_rejection to gtr_app, gtr_governor;
grant insert (withdrawn_uid, version, rejection_uid) on report_rejection to gtr_governor;
