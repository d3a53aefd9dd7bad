-- name: note_look(study_uid, counts, at)
-- What a look saw; where it saw what the look before it saw, the counts stand still since then.
insert into study_look (study_uid, counts, unchanged_since, looked_at)
values (%(study_uid)s, %(counts)s, %(at)s, %(at)s)
on conflict (study_uid) do update set
    counts = excluded.counts,
    unchanged_since =
        case when study_look.counts = excluded.counts then study_look.unchanged_since else excluded.looked_at end,
    looked_at = excluded.looked_at
returning counts, unchanged_since;

-- name: looks(study_uids)
-- The last look at each of these studies.
select study_uid, counts, unchanged_since from study_look where study_uid = any (%(study_uids)s);
