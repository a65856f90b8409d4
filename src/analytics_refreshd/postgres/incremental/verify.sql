-- The rollups against the plain definitions, at one snapshot.

-- name: begin
set transaction isolation level repeatable read, read write;
set local search_path = pg_catalog, pg_temp;
set local statement_timeout = 0;
set local idle_in_transaction_session_timeout = 0;
set local timezone = 'UTC';
set local jit = off;

-- name: hold_view
create temporary view {holder} as {query};

-- name: definitions
-- as the server writes them out: relations by what they are called now, whatever they were called then
select pg_get_viewdef(to_regclass(%(ours)s)),
    (select pg_get_viewdef(c.oid) from pg_class c where c.oid = to_regclass(%(installed)s) and c.relkind = 'm');

-- name: copy_out
copy ({query}) to stdout (format binary);

-- name: hold
create temporary table {holder} on commit drop as {query};

-- name: hold_none
create temporary table {holder} on commit drop as {query} with no data;

-- name: copy_in
copy {holder} from stdin (format binary);

-- name: held
-- action_results with the values that the views can hold, and the rows that they can show
(select h.* from (select {others}, {columns} from {app}.action_results a) h where h.unheld < {least})

-- name: compare
-- rows of the one that the other lacks, the first of each side: side, how many there are, row
select r.side, r.rows, r.row
from (
    select d.side, to_jsonb(d) - 'side' as row, count(*) over one_side as rows, row_number() over one_side as position
    from (
        select 'missing' as side, m.* from (select * from {plain} except all select * from {holder}) m
        union all
        select 'extra', e.* from (select * from {holder} except all select * from {plain}) e) d
    window one_side as (partition by d.side)) r
where r.position <= {first}
order by r.side desc, r.position;

-- name: record
update analytics_refresh.incremental set verified_at = clock_timestamp(), verified_ok = {ok}, verified_differences = {differences};
