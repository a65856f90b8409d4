-- What a run cost the server. Null is unknown, as in records of older versions.
alter table analytics_refresh.runs
    add column if not exists rows_folded bigint,
    add column if not exists wal_bytes bigint,
    add column if not exists blocks_hit bigint,
    add column if not exists blocks_read bigint,
    add column if not exists temporary_bytes bigint;
comment on column analytics_refresh.runs.rows_folded is 'Changes that its fold took; null in plain mode.';
comment on column analytics_refresh.runs.wal_bytes is 'Bytes that its refresh wrote to the WAL; null where unknown.';
comment on column analytics_refresh.runs.blocks_hit is 'Blocks that its refresh found in PostgreSQL''s buffers; null where unknown.';
comment on column analytics_refresh.runs.blocks_read is 'Blocks that its refresh had to read into them; null where unknown.';
comment on column analytics_refresh.runs.temporary_bytes is 'Bytes that its refresh wrote to temporary files and tables; null where unknown.';
alter table analytics_refresh.view_results
    add column if not exists rows_changed bigint,
    add column if not exists wal_bytes bigint,
    add column if not exists blocks_hit bigint,
    add column if not exists blocks_read bigint,
    add column if not exists temporary_bytes bigint;
comment on column analytics_refresh.view_results.rows_changed is 'Rows that the refresh deleted from the view and inserted into it; null where unknown.';
comment on column analytics_refresh.view_results.wal_bytes is 'Bytes that the view''s refresh wrote to the WAL; null where unknown, as where one call refreshed all views.';
comment on column analytics_refresh.view_results.blocks_hit is 'Blocks that it found in PostgreSQL''s buffers; null where unknown.';
comment on column analytics_refresh.view_results.blocks_read is 'Blocks that it had to read into them; null where unknown.';
comment on column analytics_refresh.view_results.temporary_bytes is 'Bytes that it wrote to temporary files and tables; null where unknown.';
