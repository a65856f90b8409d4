"""What failed executions say: the texts of real services, with the personal data that such texts hold."""

from random import Random

_RATE_LIMIT = "Too Many Requests: retry after {seconds}"
_TEXTS: dict[str, dict[str, tuple[str, ...]]] = {
    "unavailable": {
        "telegram": ("Bad Gateway", "Internal Server Error: restart"),
        "rest": ("HTTP 502 Bad Gateway", "HTTP 503 Service Unavailable", "HTTP 500 Internal Server Error"),
        "mcp": ("MCP server error -32603: internal error", "MCP server closed the connection (code 1011)"),
    },
    "timeout": {
        "telegram": ("request to api.telegram.org timed out after 10 s",),
        "rest": ("no response within 10 s", "read timed out after 10 s"),
        "mcp": ("MCP tool call timed out after 10 s",),
    },
    "rate_limit": {
        "telegram": (_RATE_LIMIT,),
        "rest": ("HTTP 429 Too Many Requests",),
        "mcp": ("MCP server error -32000: quota exceeded, retry in {seconds} s",),
    },
    "refused": {
        "telegram": ("connection reset by peer",),
        "rest": ("connection refused: 10.20.{seconds}.7:443", "TLS handshake failed: certificate has expired"),
        "mcp": ("connection refused: 10.20.{seconds}.9:8080",),
    },
    "rejected": {
        "telegram": (
            "Forbidden: bot was blocked by the user",
            "Bad Request: chat not found",
            "Unauthorized: https://api.telegram.org/bot{bot}:{token}/sendMessage",
        ),
        "rest": (
            "HTTP 404 Not Found",
            "HTTP 401 Unauthorized: Authorization: Bearer {token}",
            "HTTP 422: user{user}@mail.example is not a verified recipient",
            "",
        ),
        "mcp": (
            "MCP server error -32602: invalid params",
            "HTTP 401 from agent: api_key={token} is expired",
            "agent refused: owner user{user}@mail.example has no credit",
        ),
    },
}
_EVERYDAY = ("unavailable", "timeout", "rate_limit", "refused", "rejected")
_EVERYDAY_WEIGHTS = (24, 14, 12, 15, 35)
_NO_ANSWER = 0.3
_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789"


def describe(random: Random, action_type: str, kind: str | None, usual_ms: int) -> tuple[str, int | None]:
    """An error message and a duration in milliseconds for a failure of `kind`, by default an everyday one.

    `usual_ms` is what the execution would have taken had it succeeded.
    """
    kind = kind or random.choices(_EVERYDAY, _EVERYDAY_WEIGHTS)[0]
    text = random.choice(_TEXTS[kind][action_type]).format(
        seconds=random.randint(3, 60),
        user=random.randint(100, 999),
        bot=random.randint(10**8, 10**9),
        token="".join(random.choices(_ALPHABET, k=35)),
    )
    if kind == "timeout":
        return text, None if random.random() < _NO_ANSWER else 10_000 + random.randint(0, 40)
    if kind == "refused":
        return text, None if random.random() < _NO_ANSWER else random.randint(1, 30)
    return text, max(1, usual_ms // 2)
