-- How many images of a study the PACS listed when it was last looked at, and since when that number stands still.
create table study_look (
    study_uid       text primary key,
    counts          jsonb not null,
    unchanged_since timestamptz not null,
    looked_at       timestamptz not null
);
comment on table study_look is
    'One row a study that intake looked at: a study is taken when its counts have stood still for night.settle_minutes. '
    'Written by query_pacs and intake through PostgresStudyLooks.';
comment on column study_look.counts is 'Instances by Series Instance UID, of its CT series.';
comment on column study_look.unchanged_since is 'The first look that saw these counts.';

grant select, insert, update on study_look to gtr_app;
