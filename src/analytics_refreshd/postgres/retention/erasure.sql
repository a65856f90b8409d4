-- name: incremental
select to_regclass('analytics_refresh.incremental') is not null, to_regclass('analytics_refresh.frozen_triggers') is not null;

-- name: has_months
-- a schema that was not migrated since has no such table
select to_regclass('analytics_refresh.retention_months') is not null;

-- name: detached
-- Months that `retain` took from the log: their rows can come back. Of the same owner also by name, since a restored table
-- has another number. What is part of the log again is left out by who reads this.
select n.nspname::text, c.relname::text, c.relkind = 'f', c.reltuples::float8, row_security_active(c.oid), false
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
where c.relkind = 'r'
    and exists (
        select from analytics_refresh.retention_months r
        where r.state <> 'dropped' and (r.relation = c.oid
            or (r.schema_name = n.nspname and r.table_name = c.relname
                and c.relowner = (select o.relowner from pg_class o where o.oid = to_regclass(%(table)s)))))
    and 6 = (
        select count(*) from pg_attribute a
        where a.attrelid = c.oid and not a.attisdropped and a.attname in (
            'trigger_id', 'executed_at', 'job_id', 'event_id', 'error_message', 'response_data'))
order by 1, 2;

-- name: triggers
-- the triggers of one user or organization, or one trigger; and whether one person alone owns it
select t.id, t.user_id is not null and t.organization_id is null
from {triggers} t where t.{column} = %(identifier)s order by t.id;

-- name: candidates
-- whom a receipt may speak of
select distinct t.{column} from {triggers} t where t.{column} is not null;

-- name: of_triggers
-- a replay leaves rows alone that are younger than the erasure
(r.trigger_id = any (%(triggers)s::text[])
    and (%(until)s::timestamptz is null or r.executed_at is null or r.executed_at <= %(until)s::timestamptz))

-- name: unredacted
not (r.error_message is null and r.response_data is null and r.job_id ~ '^erased:[0-9a-f]{{32}}$'
    and (r.event_id is null or r.event_id ~ '^erased:[0-9a-f]{{32}}$'))

-- name: count_rows
select count(*) from {table} r where {erased};

-- name: count_unlinked
select count(*) from {table} r
where not exists (select from {triggers} t where t.id = r.trigger_id and t.user_id is not null);

-- name: frozen
-- what is frozen of a trigger cannot be told apart by time: a replay leaves it where some of it is younger than the erasure
select t.id, coalesce(f.n, 0)
from unnest(%(triggers)s::text[]) t (id)
left join analytics_refresh.frozen_triggers f on f.trigger_id = t.id
where f.trigger_id is null or %(until)s::timestamptz is null or f.last_at <= %(until)s::timestamptz;

-- name: find_rows
-- where they lie at this moment: what moves meanwhile is found when they are looked for again
declare erased_rows no scroll cursor with hold for select r.ctid::text from only {leaf} r where {erased};

-- name: fetch_rows
fetch forward {rows} from erased_rows;

-- name: close_rows
close all;

-- name: hold_rows
select r.ctid::text, convert_to(r.job_id, getdatabaseencoding()), convert_to(r.event_id, getdatabaseencoding())
from only {leaf} r
where r.ctid = any (%(rows)s::tid[]) and {erased}
for update skip locked;

-- name: redact_rows
update only {leaf} r
set error_message = null, response_data = null, job_id = h.job_id, event_id = h.event_id
from unnest(%(rows)s::tid[], %(jobs)s::text[], %(events)s::text[]) h (place, job_id, event_id)
where r.ctid = any (%(rows)s::tid[]) and r.ctid = h.place;

-- name: delete_rows
delete from only {leaf}
where ctid = any (array(
    select r.ctid from only {leaf} r where r.ctid = any (%(rows)s::tid[]) and {erased} for update skip locked));

-- name: abandon_earlier
-- who holds the claim is alone: an erasure without an end was killed
insert into analytics_refresh.erasures (erasure_id, step, outcome)
select e.erasure_id, 'ended', 'abandoned' from analytics_refresh.erasures e
group by e.erasure_id having not bool_or(e.step = 'ended');

-- name: begin
insert into analytics_refresh.erasures (
    erasure_id, step, scope, mode, subject_hash, key_id, replay_of, triggers, rows_unlinked)
values (%(erasure_id)s, 'begun', %(scope)s, %(mode)s, %(subject_hash)s, %(key_id)s, %(replay_of)s, %(triggers)s,
    %(rows_unlinked)s);

-- name: note_portion
insert into analytics_refresh.erasures (erasure_id, step, rows_erased) values (%(erasure_id)s, 'portion', %(rows)s);

-- name: end
-- of what has begun: whoever was cut off in the beginning does not know
insert into analytics_refresh.erasures (
    erasure_id, step, frozen_executions, texts_erased, rows_left, outcome, reason)
select e.erasure_id, 'ended', %(frozen_executions)s, %(texts_erased)s, %(rows_left)s, %(outcome)s, %(reason)s
from analytics_refresh.erasures e where e.erasure_id = %(erasure_id)s and e.step = 'begun';

-- name: receipts
select b.erasure_id, b.scope, b.mode, b.subject_hash, b.key_id, b.noted_at as begun_at, e.noted_at as ended_at, b.actor,
    b.triggers, s.rows_erased, e.rows_left, b.rows_unlinked, coalesce(e.frozen_executions, 0) as frozen_executions,
    coalesce(e.texts_erased, 0) as texts_erased, e.outcome, e.reason, b.replay_of
from analytics_refresh.erasures b
left join analytics_refresh.erasures e on e.erasure_id = b.erasure_id and e.step = 'ended'
cross join lateral (
    select sum(p.rows_erased)::int8 as rows_erased from analytics_refresh.erasures p where p.erasure_id = b.erasure_id) s
where b.step = 'begun' and (%(erasure_id)s::uuid is null or b.erasure_id = %(erasure_id)s)
order by b.entry;

-- name: erase_texts
-- an error's text may name what a row held, and nobody can tell whose row it was
with of_runs as (update analytics_refresh.runs set error = null where error is not null returning 1),
of_views as (update analytics_refresh.view_results set error = null where error is not null returning 1),
of_retention as (update analytics_refresh.retention_runs set reason = null where reason is not null returning 1),
of_alerts as (
    update analytics_refresh.alerts set summary = null, description = null
    where summary is not null or description is not null returning 1)
select (select count(*) from of_runs) + (select count(*) from of_views) + (select count(*) from of_retention)
    + (select count(*) from of_alerts);

-- name: built
select i.built and not exists (select from analytics_refresh.rebuild_marks) from analytics_refresh.incremental i;

-- name: build
select analytics_refresh.rebuild_step();

-- name: erase_frozen
select analytics_refresh.erase_frozen(%(triggers)s::text[]);

-- name: find_in
select set_config('search_path', 'pg_catalog, ' || quote_ident(%(schema)s) || ', pg_temp', true);

-- name: refresh
select f.view_name::text, coalesce(f.success, false) from {function}() f;
