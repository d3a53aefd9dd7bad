-- A report of a withdrawn model whose study is deleted from the PACS: nothing is left there to supersede.
create table report_gone (
    withdrawn_uid text primary key references report_object,
    version       text not null references model_version,
    found_gone_at timestamptz not null default clock_timestamp(),
    db_user       text not null default session_user
);
comment on table report_gone is
    'Structured reports of a withdrawn model that the PACS does not list any more, nor their study: no notice is sent for '
    'them. Append-only. Written by withdrawal.';
create trigger report_gone_append_only before update or delete or truncate on report_gone
for each statement execute function append_only();
grant select on report_gone to gtr_app, gtr_governor;
grant insert (withdrawn_uid, version) on report_gone to gtr_governor;
