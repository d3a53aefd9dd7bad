-- A reader's word goes to the PACS as a structured report, where the site wants that.
create table reader_word_sending (
    reader_word_id   bigint primary key references reader_word,
    case_id          uuid not null references staging_case,
    report_uid       text not null references report_object,
    sop_class_uid    text,
    sop_instance_uid text unique,
    series_uid       text,
    file             text,
    content_digest   text,
    predecessors     jsonb not null default '[]',
    with_why         boolean not null,
    tries            integer not null default 0 check (tries >= 0),
    next_try_at      timestamptz not null default clock_timestamp(),
    trouble          text not null default '' check (length(trouble) <= 100),
    written_at       timestamptz,
    sent_at          timestamptz,
    check (num_nulls(sop_class_uid, sop_instance_uid, series_uid, file, content_digest, written_at) in (0, 6)),
    check (sent_at is null or written_at is not null)
);
comment on table reader_word_sending is
    'The structured report of each reader''s word: which AI''s report it is about, what was written, and since when the PACS '
    'has it. Written by gtr ris send and the tasks that tell of results.';
comment on column reader_word_sending.written_at is 'Null: it could not be written yet.';
comment on column reader_word_sending.trouble is 'Class of the last error; never a text.';
comment on column reader_word_sending.with_why is 'Whether the reader''s reason is in it.';
create index on reader_word_sending (case_id);
create index on reader_word_sending (reader_word_id) where sent_at is null;
create trigger access_noted after update on reader_word_sending
for each row when (new.sent_at is not null and old.sent_at is null)
execute function access_noted('report.reader_word', 'case', 'case_id', '');

grant select, insert on reader_word_sending to gtr_app;
grant update (
    sop_class_uid, sop_instance_uid, series_uid, file, content_digest, predecessors, written_at, tries, next_try_at,
    trouble, sent_at
) on reader_word_sending to gtr_app;
