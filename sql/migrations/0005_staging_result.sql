create table staging_result (
    case_id          uuid not null references staging_case,
    model_version    text not null,
    t_stage          text not null check (t_stage in ('T1', 'T2', 'T3', 'T4')),
    p_t1             double precision not null check (p_t1 between -1e-6 and 1 + 1e-6),
    p_t2             double precision not null check (p_t2 between -1e-6 and 1 + 1e-6),
    p_t3             double precision not null check (p_t3 between -1e-6 and 1 + 1e-6),
    p_t4             double precision not null check (p_t4 between -1e-6 and 1 + 1e-6),
    key_slice_source text not null,
    flags            text[] not null default '{}',
    staged_at        timestamptz not null default clock_timestamp(),
    primary key (case_id, model_version),
    check (abs(p_t1 + p_t2 + p_t3 + p_t4 - 1) < 1e-3)
);
comment on table staging_result is
    'Vote and mean calibrated probabilities of a case, one row a model version. Written by stage.';

create table slice_result (
    case_id          uuid not null,
    model_version    text not null,
    position         smallint not null,
    role             text not null check (role in ('below', 'key', 'above')),
    sop_instance_uid text not null,
    t_stage          text not null check (t_stage in ('T1', 'T2', 'T3', 'T4')),
    p_t1             double precision not null,
    p_t2             double precision not null,
    p_t3             double precision not null,
    p_t4             double precision not null,
    primary key (case_id, model_version, position),
    foreign key (case_id, model_version) references staging_result on delete cascade
);
comment on table slice_result is
    'Calibrated probabilities of each staged slice, in the order below, key, above. Written by stage.';

-- Which of its results a case carries now: the latest one saved.
alter table staging_case add column model_version text;
alter table staging_case add foreign key (case_id, model_version) references staging_result;
comment on column staging_case.model_version is 'Model version of the result that the case carries now.';

grant select, insert, update on staging_result to gtr_app;
grant select, insert, update, delete on slice_result to gtr_app;
