-- When each view's own refresh ended: a run goes on after it, for as long as its other views take.
alter table analytics_refresh.view_results add column if not exists finished_at timestamptz;
comment on column analytics_refresh.view_results.finished_at is 'When the view''s own refresh ended, at the earliest, by the server''s clock; null on failure and in records of older versions.';
