create table night (
    night         date primary key,
    model_version text not null default '',
    opened_at     timestamptz not null default clock_timestamp(),
    reopened_at   timestamptz,
    closed_at     timestamptz,
    summary       jsonb
);
comment on table night is
    'One row a night, the evening on which the window began. Written by open_night and close_night.';
comment on column night.model_version is 'SHA-256 digest of the artefact that stages this night.';
comment on column night.summary is 'What close_night concluded; stays until the night is closed again.';

grant select, insert, update on night to gtr_app;
