create table report_object (
    sop_instance_uid text primary key,
    case_id          uuid not null references staging_case,
    kind             text not null
        check (kind in ('structured_report', 'parametric_map', 'secondary_capture', 'key_objects')),
    sop_class_uid    text not null,
    series_uid       text not null,
    file             text not null,
    content_digest   text not null,
    model_version    text,
    first_written_at timestamptz not null default clock_timestamp(),
    last_written_at  timestamptz not null default clock_timestamp()
);
comment on table report_object is
    'Every DICOM object that was written for the PACS; an object with other content is another row. Written by report.';
comment on column report_object.file is 'Name in the report folder of the case.';
comment on column report_object.model_version is 'Model version the case carried when the object was written.';

create index on report_object (case_id, kind, last_written_at);

grant select, insert, update on report_object to gtr_app;
