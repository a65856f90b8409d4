-- A dump and restore gives tables other numbers: a month is found by its name and the comment that `retain` gave it, and two
-- months may have had the same number.
alter table analytics_refresh.retention_months drop constraint if exists retention_months_pkey;
alter table analytics_refresh.retention_months add column if not exists month_id bigint generated always as identity;
alter table analytics_refresh.retention_months add constraint retention_months_pkey primary key (month_id);
comment on column analytics_refresh.retention_months.month_id is 'Its number in this table.';
comment on sequence analytics_refresh.retention_months_month_id_seq is 'Numbers for month_id.';
comment on column analytics_refresh.retention_months.relation is
    'Number of the table when it was detached, which a dump and restore changes.';
comment on column analytics_refresh.retention_months.run_id is 'The run that detached it; the comment of the table names it.';
comment on index analytics_refresh.retention_months_pkey is 'One row per table.';
