-- The words that hold: of each reader the newest on a result's stage and the newest on its key slice that was not taken
-- back. No PHI. Read by the console and by gtr case words.
drop view if exists standing_reader_word;
create view standing_reader_word as
select distinct on (w.case_id, w.result, w.reader, w.slices is null)
    w.*
from reader_word as w
where w.kind <> 'withdrawn' and not exists (select from reader_word as b where b.withdraws = w.reader_word_id)
order by w.case_id, w.result, w.reader, w.slices is null, w.reader_word_id desc;

comment on view standing_reader_word is
    'What each reader says of each result now: the newest word on the stage, and the newest on the key slice, that was not '
    'taken back. Written by no step; read by the console and by gtr case words.';

grant select on standing_reader_word to gtr_console, gtr_app, gtr_governor;
