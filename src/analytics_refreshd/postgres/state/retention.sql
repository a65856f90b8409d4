-- name: last_runs
select r.started_at as begun_at, r.finished_at as ended_at, r.outcome, r.reason, r.rows_deleted, r.rows_left, r.bound,
    (select max(o.finished_at) from analytics_refresh.retention_runs o where o.outcome = 'ok') as ok_at
from analytics_refresh.retention_runs r
order by r.started_at desc
limit 1;
