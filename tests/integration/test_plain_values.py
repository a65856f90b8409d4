"""Numbers and times of a batch as JSON has them: as those that Python objects become."""

import math

import pytest

from analytics_refreshd.api.answers import plain
from analytics_refreshd.postgres.catalogue.times import read_every_time
from analytics_refreshd.postgres.connection.batch import BatchConnection, Statement

VALUES = """
values (0::numeric, '2026-03-01 02:14:05+00'::timestamptz, 1.5::float8),
    (12, '2026-03-01 02:14:05.1+00', 'infinity'), (12.00, '2026-03-01 02:14:05.123456+00', 'nan'),
    (12.50, '1999-12-31 23:59:59.999999+00', 0), (-0.01, '0001-01-01 00:00:00+00', -1),
    (9007199254740993, '0044-03-15 12:00:00+00 BC', 2), (9007199254740993.5, 'infinity', 3),
    (99.99999999999999999999, '-infinity', 4), ('NaN', '10000-01-01 00:00:00+00', 5), ('Infinity', null, 6),
    (1e30, '9999-12-31 23:59:59+00', 7), (0.1 + 0.2, 'epoch', 8), (null, '2026-06-01 00:00:00+00', null)
"""


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata"])
def test_plain_values_are_those_of_the_objects(dsn: str, zone: str) -> None:
    """Of each number and time that PostgreSQL has, in UTC and in a session of another zone."""
    with BatchConnection.connect(dsn, autocommit=True) as connection:
        read_every_time(connection)
        connection.execute("select set_config('TimeZone', %s, false)", (zone,))
        (objects,), (values,) = ([connection.batch([Statement(VALUES, plain=flag)])[0]] for flag in (False, True))
    for row, wanted in zip(values, objects, strict=True):
        got, right = [[plain(value) for value in one] for one in (row, wanted)]
        assert got == right
        assert [type(value) for value in got] == [type(value) for value in right]
        assert all(not isinstance(value, float) or math.isfinite(value) for value in got)
