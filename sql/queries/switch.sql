-- name: newest()
-- What was decided last: stopped, or resumed.
select action, by_whom, why, at from service_switch order by service_switch_id desc limit 1;

-- name: decide(action, by_whom, why)
-- Stop, or resume.
insert into service_switch (action, by_whom, why) values (%(action)s, %(by_whom)s, %(why)s);

-- name: history()
-- Every stop and every resume, oldest first.
select action, by_whom, why, at from service_switch order by service_switch_id;
