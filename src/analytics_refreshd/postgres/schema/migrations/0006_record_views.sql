alter table analytics_refresh.installation add column if not exists views jsonb;
comment on column analytics_refresh.installation.views is 'By which definition each view was when migrate last looked; null before. A view created again since then has another one.';
