"""How many labelled anomalies of hourly series are found: recall, precision, false hints, CPU.

    python -m tests.benchmarks.labelled_hours --series 45

No labelled data are at hand that may be passed on, so series are made by a recipe like that of Yahoo's S5 benchmark (A3
and A4: hours of a day and a week, a trend, noise, and anomalies at random places, which are labelled), with counts
instead of real numbers, since counts are what an action log has:

- Ten weeks of hours. A level of 60 to 1,200 executions, times a curve of the day (two harmonics), times a weekend,
  times a trend of -30 to 50 % over all. Hours differ by a gamma distribution, up to 30 %; counts are Poisson's. 1 to
  5 % fail, the rate drifts over the weeks. A p95 is drawn around a level that follows the load.
- After the first five weeks six anomalies in each series, at random, at least a day apart, 2 to 12 hours long, of one
  measure: volume times 0.3 to 0.6 or 1.7 to 3; 8 to 30 % fail; p95 times 1.5 to 3. One of six lasts a single hour.

One is found where a hint comes within it, or in the hour after. Hints in a row are one hint, and false where none of
them is within an anomaly or the two hours after. A third of the series each has anomalies of volume, failures and p95;
hints of any measure count.
"""

import argparse
import math
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random

from analytics_refreshd.core.hour_series import FURTHEST_BACK, HOUR, HourCell, Measure
from analytics_refreshd.core.unusual import readings

START = datetime(2026, 1, 5, tzinfo=UTC)
HOURS, LEARNED = 10 * 168, 5 * 168
MEASURES = (Measure.VOLUME, Measure.FAILURE_RATE, Measure.P95)


@dataclass(frozen=True)
class Label:
    """An anomaly of a series: its first hour, its length in hours, and by what it multiplies, or the failure rate."""

    first: int
    length: int
    by: float

    def covers(self, hour: int, after: int = 0) -> bool:
        """Whether the hour is in it, or up to so many later."""
        return self.first <= hour < self.first + self.length + after


def labels(random: Random, measure: Measure) -> list[Label]:
    """Six anomalies, at least a day apart."""
    stretch = (HOURS - LEARNED) // 6
    found = []
    for number in range(6):
        length = 1 if random.random() < 1 / 6 else random.randint(2, 12)
        first = LEARNED + stretch * number + random.randint(12, stretch - 13 - length)
        if measure is Measure.VOLUME:
            by = random.uniform(0.3, 0.6) if random.random() < 0.5 else random.uniform(1.7, 3.0)
        else:
            by = random.uniform(0.08, 0.3) if measure is Measure.FAILURE_RATE else random.uniform(1.5, 3.0)
        found.append(Label(first, length, by))
    return found


def poisson(random: Random, mean: float) -> int:
    """A count; of a large mean by the normal distribution."""
    if mean > 200:
        return max(0, round(random.gauss(mean, math.sqrt(mean))))
    count, at = 0, random.expovariate(1.0)
    while at < mean:
        count, at = count + 1, at + random.expovariate(1.0)
    return count


def series(random: Random, measure: Measure, known: list[Label]) -> Iterator[HourCell]:
    """The hours of one action type, with its anomalies."""
    level, trend = math.exp(random.uniform(math.log(60), math.log(1200))), random.uniform(-0.3, 0.5)
    first, second = random.uniform(0.2, 0.7), random.uniform(0.0, 0.2)
    phase, weekend = random.uniform(0, 24), random.uniform(0.3, 1.0)
    shape, fails, slow = 1 / random.uniform(0.05, 0.3) ** 2, random.uniform(0.01, 0.05), random.uniform(0.1, 2.0)
    for hour in range(HOURS):
        at = START + hour * HOUR
        angle = 2 * math.pi * (hour - phase) / 24
        day = max(0.05, 1 + first * math.sin(angle) + second * math.sin(2 * angle))
        load = day * (weekend if at.weekday() >= 5 else 1.0)
        mean = level * load * (1 + trend * hour / HOURS) * random.gammavariate(shape, 1 / shape)
        rate = fails * (1 + 0.3 * math.sin(hour / 300))
        p95 = slow * load**0.2
        for label in known:
            if label.covers(hour):
                mean *= label.by if measure is Measure.VOLUME else 1.0
                rate = label.by if measure is Measure.FAILURE_RATE else rate
                p95 *= label.by if measure is Measure.P95 else 1.0
        executions = poisson(random, mean)
        failures = min(executions, poisson(random, executions * rate))
        successes = executions - failures
        noise = random.gauss(0, math.hypot(0.1, 1.3 / math.sqrt(max(1, successes))))
        yield HourCell(at, "rest", executions, failures, successes, p95 * math.exp(noise) if successes else None)


@dataclass
class Score:
    """What was found of the labels, by measure; a label of one hour counts apart."""

    labels: Counter[str]
    found: Counter[str]
    hints: int = 0
    right: int = 0
    seconds: float = 0.0
    looks: int = 0


def judge(random: Random, measure: Measure, score: Score) -> None:
    """Look at each hour after the first five weeks of one series, as the daemon does once an hour."""
    known = labels(random, measure)
    cells = list(series(random, measure, known))
    first_read = int(FURTHEST_BACK / HOUR)
    hinted = []
    began = time.process_time()
    for hour in range(LEARNED, HOURS):
        found = readings(cells[hour - first_read : hour + 1], cells[hour].hour)
        if any(reading.unusual for reading in found):
            hinted.append(hour)
    score.seconds += time.process_time() - began
    score.looks += HOURS - LEARNED
    for label in known:
        kind = "one hour alone" if label.length == 1 else measure.value
        score.labels[kind] += 1
        score.found[kind] += any(label.covers(hour, 1) for hour in hinted)
    episodes = [hour for hour in hinted if hour - 1 not in hinted]
    for begin in episodes:
        hours = [begin]
        while hours[-1] + 1 in hinted:
            hours.append(hours[-1] + 1)
        score.hints += 1
        score.right += any(label.covers(hour, 2) for hour in hours for label in known)


def main() -> None:
    """Judge the series, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=45)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    score = Score(Counter(), Counter())
    for number in range(given.series):
        judge(Random(f"{given.seed} {number}"), MEASURES[number % len(MEASURES)], score)
    for kind, count in sorted(score.labels.items()):
        print(f"{kind}: {score.found[kind]} of {count} found, recall {score.found[kind] / count:.2f}")
    lasting = sum(count for kind, count in score.labels.items() if kind != "one hour alone")
    found = sum(count for kind, count in score.found.items() if kind != "one hour alone")
    weeks = given.series * timedelta(hours=HOURS - LEARNED) / timedelta(weeks=1)
    print(f"all of two hours and more: recall {found / lasting:.2f}")
    print(f"hints: {score.hints}, precision {score.right / max(1, score.hints):.2f}")
    print(f"false hints a series and week: {(score.hints - score.right) / weeks:.2f}")
    print(f"CPU: {score.seconds:.1f} s, {1000 * score.seconds / score.looks:.2f} ms for each series and hour")


if __name__ == "__main__":
    main()
