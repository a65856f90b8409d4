-- How large the database was, once an hour while [alerts] disk_bytes is set: by its growth the daemon tells when that is used up.
alter table analytics_refresh.runs add column if not exists database_bytes bigint;
comment on column analytics_refresh.runs.database_bytes is 'Size of the whole database soon after it, once an hour while [alerts] disk_bytes is set; else null.';
