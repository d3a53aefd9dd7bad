-- name: due(with_why, most)
-- Words that are to go to the PACS, oldest first: of results that cases carry now and that the PACS has, and what takes
-- back or changes a word that went there. `kind` is what holds of the reader's words on the stage, or on the slice, then.
select
    w.reader_word_id as number, w.case_id::text as case_id, w.reader, w.at, k.about_slice,
    coalesce(h.kind, 'withdrawn') as kind, h.t_stage, h.slices[2] as key_slice, coalesce(h.why, w.why) as why,
    coalesce(s.with_why, %(with_why)s) as with_why, coalesce(s.tries, 0) as tries,
    to_jsonb(r) as report, to_jsonb(b) as previous, to_jsonb(s) as written
from reader_word as w
left join reader_word as t on t.reader_word_id = w.withdraws
cross join lateral (select coalesce(t.slices, w.slices) is not null as about_slice) as k
left join reader_word_sending as s on s.reader_word_id = w.reader_word_id
left join lateral (
    select o.* from reader_word as o
    where o.case_id = w.case_id and o.result = w.result and o.reader = w.reader and o.kind <> 'withdrawn'
        and o.reader_word_id <= w.reader_word_id and (o.slices is not null) = k.about_slice
        and not exists (
            select from reader_word as x where x.withdraws = o.reader_word_id and x.reader_word_id <= w.reader_word_id
        )
    order by o.reader_word_id desc limit 1
) as h on true
left join lateral (
    -- What was sent for this reader's words on the same before.
    select d.* from reader_word_sending as d
    join reader_word as o on o.reader_word_id = d.reader_word_id
    left join reader_word as u on u.reader_word_id = o.withdraws
    where o.case_id = w.case_id and o.result = w.result and o.reader = w.reader and o.reader_word_id < w.reader_word_id
        and (coalesce(u.slices, o.slices) is not null) = k.about_slice
    order by d.reader_word_id desc limit 1
) as b on true
left join lateral (
    select o.* from report_object as o
    where o.case_id = w.case_id and (
        o.sop_instance_uid = coalesce(s.report_uid, b.report_uid)
        or (
            coalesce(s.report_uid, b.report_uid) is null
            and o.kind = 'structured_report' and o.model_version = w.model_version
            -- The notice about a withdrawn report is written later than the report of the next model.
            and not exists (select from withdrawal_notice as n where n.notice_uid = o.sop_instance_uid)
        )
    )
    order by o.last_written_at desc, o.sop_instance_uid limit 1
) as r on true
join staging_case as c on c.case_id = w.case_id
left join model_version as v on v.version = c.model_version
where s.sent_at is null and (s.next_try_at is null or s.next_try_at <= clock_timestamp())
    and r.sop_instance_uid is not null
    and (
        b.sent_at is not null
        or (
            b.reader_word_id is null and h.kind is not null and c.state = 'committed'
            and coalesce(v.state <> 'withdrawn', true) and w.result = result_digest(c.case_id, c.model_version)
        )
    )
order by w.reader_word_id
limit %(most)s;

-- name: write(reader_word_id, case_id, report_uid, sop_class_uid, sop_instance_uid, series_uid, file, content_digest, predecessors, with_why)
-- What was written for a word; the same again only later, and nothing once the PACS has it.
insert into reader_word_sending (
    reader_word_id, case_id, report_uid, sop_class_uid, sop_instance_uid, series_uid, file, content_digest, predecessors,
    with_why, written_at
)
values (
    %(reader_word_id)s, %(case_id)s, %(report_uid)s, %(sop_class_uid)s, %(sop_instance_uid)s, %(series_uid)s, %(file)s,
    %(content_digest)s, %(predecessors)s, %(with_why)s, clock_timestamp()
)
on conflict (reader_word_id) do update set
    sop_class_uid = excluded.sop_class_uid,
    sop_instance_uid = excluded.sop_instance_uid,
    series_uid = excluded.series_uid,
    file = excluded.file,
    content_digest = excluded.content_digest,
    predecessors = excluded.predecessors,
    written_at = clock_timestamp()
where reader_word_sending.sent_at is null;

-- name: sent(reader_word_id)
-- The PACS has it.
update reader_word_sending set sent_at = clock_timestamp(), trouble = ''
where reader_word_id = %(reader_word_id)s and sent_at is null;

-- name: wait(reader_word_id, case_id, report_uid, with_why, seconds, trouble)
-- It is tried again in so many seconds, written or not.
insert into reader_word_sending (reader_word_id, case_id, report_uid, with_why, tries, trouble, next_try_at)
values (
    %(reader_word_id)s, %(case_id)s, %(report_uid)s, %(with_why)s, 1, %(trouble)s,
    clock_timestamp() + make_interval(secs => %(seconds)s)
)
on conflict (reader_word_id) do update set
    tries = reader_word_sending.tries + 1,
    trouble = excluded.trouble,
    next_try_at = excluded.next_try_at
where reader_word_sending.sent_at is null;

-- name: waiting()
-- How many words the PACS did not take when they were sent, how often the worst was tried, and what its last error was.
select count(*) as words, coalesce(max(tries), 0) as tries, coalesce((array_agg(trouble order by tries desc))[1], '') as trouble
from reader_word_sending
where sent_at is null and tries > 0;
