create table nomogram_result (
    case_id           uuid not null,
    model_version     text not null,
    coefficients      text not null,
    rad_score_sd      double precision not null,
    rad_score_clipped boolean not null,
    linear_predictor  double precision not null,
    points            jsonb not null,
    p_t1              double precision not null,
    p_t2              double precision not null,
    p_t3              double precision not null,
    p_t4              double precision not null,
    low               double precision[] not null check (array_length(low, 1) = 4),
    high              double precision[] not null check (array_length(high, 1) = 4),
    missing           text[] not null default '{}',
    tumour_size_cm    double precision check (tumour_size_cm > 0 and tumour_size_cm <= 40),
    differentiation   text check (differentiation in ('well', 'moderate', 'poor')),
    lauren            text check (lauren in ('intestinal', 'diffuse', 'mixed')),
    scored_at         timestamptz not null default clock_timestamp(),
    primary key (case_id, model_version),
    foreign key (case_id, model_version) references staging_result
);
comment on table nomogram_result is
    'Points and probabilities of the nomogram with their interval over missing covariates (low, high: T1..T4), and the '
    'covariates they were computed from. Written by nomogram.';

grant select, insert, update on nomogram_result to gtr_app;
