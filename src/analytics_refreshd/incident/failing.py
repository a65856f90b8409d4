"""Keep which views' last run failed."""

from collections.abc import Collection

from analytics_refreshd.incident.model import LIMIT

ANY = ""
"""Stands for a failure whose views are not known: any successful run ends it."""


class FailingViews:
    """The views whose last run failed. A view's failure ends with a successful run that includes it."""

    def __init__(self) -> None:
        self._views: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self._views)

    def add(self, view: str | None) -> None:
        """Note a failure, of an unknown view where None."""
        if len(self._views) < LIMIT:
            self._views.add(view or ANY)

    def refreshed(self, views: Collection[str] | None) -> None:
        """Note a success of `views`, None for all."""
        self._views -= self._views if views is None else {*views, ANY}

    def configured(self, views: Collection[str]) -> None:
        """Forget views that are refreshed no more."""
        self._views &= {*views, ANY}
