"""Write what happens as lines and tables for people."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from analytics_refreshd.demo.chaos.cases import BEAT_SECONDS, Case, Mark, Score, score

HEAD = f"{'UTC':<8}  {'no.':>3}  {'step':<9} {'after':>6}   what"
COLUMNS = ("no.", "broken", "detected", "told", "healed")
_STEPS = ("detected", "told", "healed")


def line(at: float, number: int, step: str, what: str, after_seconds: float | None = None) -> str:
    """Return one line of the table that grows."""
    after = "" if after_seconds is None else _seconds(after_seconds)
    return f"{datetime.fromtimestamp(at, UTC):%H:%M:%S}  {number:>3}  {step:<9} {after:>6}   {what}"


def news(before: Case, after: Case) -> Iterator[tuple[str, Mark]]:
    """Yield the steps that came, by name."""
    for step in _STEPS:
        mark: Mark | None = getattr(after, step)
        if mark is not None and getattr(before, step) is None:
            yield step, mark


def missing(case: Case) -> list[str]:
    """Return the steps that were due and never came, by name."""
    return [step for step in _STEPS if getattr(case, step) is None and not (step == "told" and not case.broken.alert)]


def rows(cases: Sequence[Case]) -> list[tuple[str, ...]]:
    """Return a row of `COLUMNS` for each case."""
    return [
        (
            str(number),
            str(case.broken),
            _cell(case.detected),
            _cell(case.told) if case.broken.alert else "nobody needs to act",
            _cell(case.healed),
        )
        for number, case in enumerate(cases, start=1)
    ]


def verdict(cases: Sequence[Case]) -> str:
    """Return the score in a sentence."""
    found: Score = score(cases)
    text = f"Score: {found.in_time} of {found.due} steps within {BEAT_SECONDS:g} s"
    if not found.perfect:
        text += f", {found.late} late, {found.missing} never"
    breaks = "1 break" if len(cases) == 1 else f"{len(cases)} breaks"
    return f"{text}. {breaks}: each has to be detected, told where a person must act, and healed once it is fixed."


def _cell(mark: Mark | None) -> str:
    if mark is None:
        return "never"
    late = " (late)" if mark.after_seconds > BEAT_SECONDS else ""
    return f"{_seconds(mark.after_seconds)}{late}, {mark.by}"


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s"
