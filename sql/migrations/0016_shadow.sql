create table shadow_result (
    case_id          uuid not null references staging_case,
    model_version    text not null references model_version,
    champion_version text not null,
    t_stage          text check (t_stage in ('T1', 'T2', 'T3', 'T4')),
    champion_stage   text not null check (champion_stage in ('T1', 'T2', 'T3', 'T4')),
    probabilities    double precision[] check (array_length(probabilities, 1) = 4),
    flags            text[] not null default '{}',
    features         real[],
    logits           real[] check (array_length(logits, 1) = 12),
    own_preparation  boolean not null default false,
    error            text,
    staged_at        timestamptz not null default clock_timestamp(),
    primary key (case_id, model_version),
    check (num_nulls(t_stage, error) = 1),
    check (num_nulls(t_stage, probabilities, features, logits) in (0, 4))
);
comment on table shadow_result is
    'What a challenger in shadow said of a case that the champion staged, or why it could not. No view reads it and '
    'nothing of it leaves the house. Written by shadow.';
comment on column shadow_result.own_preparation is
    'The challenger''s preprocessing contract is another, so the slices were prepared anew for it.';
create index on shadow_result (model_version);

grant select, insert, update on shadow_result to gtr_app;
