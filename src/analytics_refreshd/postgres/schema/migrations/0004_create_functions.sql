-- name: refresh_action_analytics_view_comments
comment on function {target}.refresh_action_analytics_view(text) is
    'Refreshes one of the four analytics views concurrently and reports it in one row; a failure is a row with success = false.';

-- name: refresh_action_analytics_comments
comment on function {target}.refresh_action_analytics() is
    'Refreshes the four analytics views concurrently, one row each; a view that fails does not stop the others.';

-- name: get_analytics_refresh_status_comments
comment on function {target}.get_analytics_refresh_status() is
    'Each view''s rows and last refresh as the refresh functions recorded them, its size, and its age in minutes, rounded; null where unknown. Cheap: counts nothing.';
