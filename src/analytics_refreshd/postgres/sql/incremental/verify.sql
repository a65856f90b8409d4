-- The rollups against the plain definitions, at one snapshot.

-- name: begin
set transaction isolation level repeatable read, read write;
set local search_path = pg_catalog, pg_temp;
set local statement_timeout = 0;
set local idle_in_transaction_session_timeout = 0;
set local timezone = 'UTC';
set local jit = off;

-- name: copy_out
copy ({query}) to stdout (format binary);

-- name: hold
create temporary table {holder} on commit drop as {query} with no data;

-- name: copy_in
copy {holder} from stdin (format binary);

-- name: hold_plain
create temporary table {plain} on commit drop as {query};

-- name: compare
-- rows of the one that the other lacks: side, row
select side, to_jsonb(r) - 'side'
from (
    select 'missing' as side, m.* from (select * from {plain} except all select * from {holder}) m
    union all
    select 'extra', e.* from (select * from {holder} except all select * from {plain}) e) r;

-- name: record
update analytics_refresh.incremental set verified_at = clock_timestamp(), verified_ok = {ok}, verified_differences = {differences};
