-- name: raise(notice_key, kind, night, subject, body)
-- An event that operations are told of; no row comes back where it is known already.
insert into notice (notice_key, kind, night, subject, body)
values (%(notice_key)s, %(kind)s, %(night)s, %(subject)s, %(body)s)
on conflict (notice_key) do nothing
returning notice_key;

-- name: over(notice_key, channel)
-- A channel that it is to go out over.
insert into notice_delivery (notice_key, channel) values (%(notice_key)s, %(channel)s);

-- name: next(channel, tried_before)
-- The oldest notice that has not gone out over a channel and was not tried since; held while it is sent.
select n.notice_key, n.kind, n.night, n.subject, n.body, n.raised_at
from notice_delivery as d join notice as n using (notice_key)
where d.channel = %(channel)s and d.delivered_at is null and coalesce(d.tried_at, '-infinity') < %(tried_before)s
order by n.raised_at, n.notice_key
limit 1
for update of d skip locked;

-- name: delivered(notice_key, channel)
-- It went out.
update notice_delivery set tries = tries + 1, error = null, tried_at = clock_timestamp(), delivered_at = clock_timestamp()
where notice_key = %(notice_key)s and channel = %(channel)s;

-- name: not_delivered(notice_key, channel, error)
-- It did not; it is tried again by the next run.
update notice_delivery set tries = tries + 1, error = %(error)s, tried_at = clock_timestamp()
where notice_key = %(notice_key)s and channel = %(channel)s and delivered_at is null;

-- name: waiting()
-- What has not gone out yet, oldest first.
select n.notice_key, n.subject, n.raised_at, d.channel, d.tries, d.error
from notice_delivery as d join notice as n using (notice_key)
where d.delivered_at is null
order by n.raised_at, n.notice_key, d.channel;

-- name: note_look(at)
-- That somebody looked.
insert into watch_look (looked_at) values (%(at)s) on conflict (only_row) do update set looked_at = excluded.looked_at;

-- name: last_look()
-- When somebody looked last.
select looked_at from watch_look;
