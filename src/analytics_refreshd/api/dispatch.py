"""Finds the route of a path."""

from collections.abc import Sequence

from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send


class ByPath(Router):
    """A router that looks up a path without places.

    It does not try one route after the other.
    """

    def __init__(self, routes: Sequence[Route], *, redirect_slashes: bool) -> None:
        super().__init__(routes, redirect_slashes=redirect_slashes)
        whole = [route for route in reversed(routes) if "{" not in route.path]
        self._whole = {(method, route.path): route for route in whole for method in route.methods or ()}

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request to its route."""
        route = self._whole.get((scope.get("method", ""), scope["path"]))
        if route is None or scope.get("root_path"):
            await super().app(scope, receive, send)
            return
        scope["router"], scope["route"], scope["endpoint"], scope["path_params"] = self, route, route.endpoint, {}
        await route.handle(scope, receive, send)
