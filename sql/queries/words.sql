-- name: result(case_id)
-- The result that a case carries and that may be shown, with the digest that a word names.
select
    case_id::text as case_id, model_version, t_stage, result, is_read
from console_case where case_id = %(case_id)s and model_version is not null;

-- name: hold_case(case_id)
-- Versions of a case are counted by one.
select hold_case(%(case_id)s::uuid);

-- name: say(case_id, model_version, result, reader, role, kind, t_stage, slices, why)
-- A word about a result.
insert into reader_word (case_id, model_version, result, reader, role, kind, t_stage, slices, why)
values (
    %(case_id)s, %(model_version)s, %(result)s, %(reader)s, %(role)s, %(kind)s, %(t_stage)s, %(slices)s::text[], %(why)s
)
returning reader_word_id;

-- name: withdraw(reader_word_id, case_id, reader, role, why)
-- A reader takes back a word of theirs; no row where it is none of theirs, or was taken back.
insert into reader_word (case_id, model_version, result, reader, role, kind, withdraws, why)
select w.case_id, w.model_version, w.result, w.reader, %(role)s, 'withdrawn', w.reader_word_id, %(why)s
from reader_word as w
where w.reader_word_id = %(reader_word_id)s and w.case_id = %(case_id)s and w.reader = %(reader)s and w.kind <> 'withdrawn'
on conflict (withdraws) do nothing
returning reader_word_id;

-- name: tell(reader_word_id, channels)
-- The message about it to other systems.
select tell_reader_word(%(reader_word_id)s, %(channels)s::text[]);

-- name: of_case(case_id)
-- Every word on a case, oldest first, and whether it holds.
select
    w.reader_word_id, w.case_id::text as case_id, w.model_version, w.result, w.reader, w.role, w.kind, w.t_stage, w.slices,
    w.withdraws, w.why, w.own_stage, w.own_stage_at, w.ai_shown_at, w.at,
    exists (select from standing_reader_word as s where s.reader_word_id = w.reader_word_id and s.case_id = w.case_id)
        as stands
from reader_word as w where w.case_id = %(case_id)s order by w.reader_word_id;

-- name: give_own_stage(case_id, model_version, result, reader, t_stage)
-- The stage that a reader gives of their own; the first holds, and none is kept of who was shown the AI's before.
insert into reader_own_stage (case_id, model_version, result, reader, t_stage)
select %(case_id)s::uuid, %(model_version)s, %(result)s, %(reader)s, %(t_stage)s
where not exists (
    select from reader_shown as s where s.case_id = %(case_id)s::uuid and s.result = %(result)s and s.reader = %(reader)s
)
on conflict (case_id, result, reader) do nothing;

-- name: own_stage(case_id, result, reader)
-- What a reader gave of their own, and when they were shown the AI's.
select o.t_stage, o.at, s.at as shown_at
from reader_own_stage as o
left join reader_shown as s on s.case_id = o.case_id and s.result = o.result and s.reader = o.reader
where o.case_id = %(case_id)s and o.result = %(result)s and o.reader = %(reader)s;

-- name: note_shown(case_ids, results, reader)
-- These results are shown to a reader from now on; the first time holds. In the order of cases, so that two pages of one reader
-- do not wait for each other. What has changed meanwhile is noted when it is shown.
insert into reader_shown (case_id, model_version, result, reader)
select v.case_id, v.model_version, v.result, %(reader)s
from unnest(%(case_ids)s::uuid[], %(results)s::text[]) as shown (case_id, result)
join console_case as v on v.case_id = shown.case_id and v.result = shown.result
order by v.case_id
on conflict (case_id, result, reader) do nothing;
