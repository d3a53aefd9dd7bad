-- name: save(digest, model_version, wanted, comparison)
-- A comparison; the same again changes nothing.
insert into restage_comparison (digest, model_version, wanted, comparison)
values (%(digest)s, %(model_version)s, %(wanted)s, %(comparison)s)
on conflict (digest) do nothing;

-- name: get(digest)
-- A comparison, by its digest or the beginning of it.
select digest, model_version, wanted, comparison, made_at from restage_comparison
where starts_with(digest, %(digest)s) order by digest limit 2;

-- name: approve(digest, by_whom, why)
-- Somebody lets these results go to the PACS.
insert into restage_approval (digest, by_whom, why) values (%(digest)s, %(by_whom)s, %(why)s);

-- name: approvals(digest)
-- Who did, oldest first.
select by_whom, why, at from restage_approval where digest = %(digest)s order by restage_approval_id;
