-- name: pause
select analytics_refresh.pause(%(length)s, %(reason)s)
-- name: resume
select analytics_refresh.resume()
