-- Each model that is judged on the same sealed patients spends a part of the gate's error rate. A holdout that has grown
-- holds the patients of the earlier ones: looks at those count, too. Who is sealed nobody reads by this.
create function holdout_looks(cohort text) returns table (digest text, model_version text)
language sql stable security definer set search_path = pg_catalog, public
as $$
    select o.digest, o.model_version
    from public.holdout_opening as o
    where exists (
        select
        from public.holdout_member as own
        join public.holdout_member as other using (subject)
        where own.digest = cohort and other.digest = o.digest
    )
    group by o.digest, o.model_version
    order by min(o.holdout_opening_id)
$$;
comment on function holdout_looks is
    'Which models looked at a holdout, or at another that shares a patient with it: each once a holdout, oldest first.';
revoke all on function holdout_looks(text) from public;
grant execute on function holdout_looks(text) to gtr_governor;
