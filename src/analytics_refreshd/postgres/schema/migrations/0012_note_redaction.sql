alter table analytics_refresh.installation add column if not exists failures_redacted boolean not null default false;
comment on column analytics_refresh.installation.failures_redacted is 'Whether recent_failures stores error messages redacted, and no answers.';
