-- The texts of recent_failures, from a row r of action_results. In the view's own query, and not by a function of ours: so the
-- view outlives our schema, and a dump restores it.

-- name: stored_error_message
r.error_message::text

-- name: stored_response_data
r.response_data::jsonb

-- name: redacted_error_message
-- as analytics_reader.redacted in deploy/sql/reader.sql
left(
    regexp_replace(regexp_replace(regexp_replace(regexp_replace(regexp_replace(regexp_replace(regexp_replace(
    regexp_replace(regexp_replace(left(r.error_message::text, 2000),
        '[[:cntrl:]\u200b-\u200f\u2028-\u202e\u2066-\u2069]+', ' ', 'g'),
        '([a-z][a-z0-9+.-]{1,30}://)[^\s/]*@', '\1***@', 'gi'),
        '((?:(?:passw|passphrase|passcode|secret|token|credential|signature|cookie|bearer|jwt|csrf|xsrf|session[_-]?id'
            || '|(?:api|app|access|account|auth|aws|client|crypt|cryption|encryption|license|master|private|service'
            || '|shared|signing|ssh|storage|webhook)[_-]?key|connection[_-]?string)[\w-]*'
            || '|pass|pwd|(?:\m|[_-])(?:pw|auth|authorization|creds|cred|sig|otp|totp|pin|cvv|cvc|salt|session|sid))'
            || '\\{0,3}["'']?\s*(?::=|=>|->|[:=]|%3[ad])\s*)'
            || '(?:"[^"]*"?|''[^'']*''?|(?:bearer|basic)\s+\S+|\S+)', '\1***', 'gi'),
        '\m(bearer|basic)\s+\S+', '\1 ***', 'gi'),
        '[^\s<>"(),;:=@/*]+(?:@|%40)\[?[\w.-]+', '<email>', 'g'),
        '\d{6,12}:[\w-]{20,}', '<token>', 'g'),
        '(?:\meyJ[\w-]{5,}(?:\.[\w-]*)*'
            || '|\m(?:sk|pk|rk|gh[pousr]|github_pat|glpat|xox[a-z]|AKIA|ASIA|AIza|npm|pypi|hf)[_.-]?[\w-]{12,})',
        '<token>', 'g'),
        '(?=[[:alnum:]]*[0-9])(?=[[:alnum:]]*[[:alpha:]])[[:alnum:]]{16,}', '<token>', 'g'),
        '\+?\d{7,}|\+?\d{1,6}(?:[ -]{1,2}\d{2,6}){3,}', '<number>', 'g'),
    300)

-- name: redacted_response_data
null::jsonb
