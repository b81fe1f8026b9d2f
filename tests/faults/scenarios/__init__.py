"""One function per row of the table; its docstring is what the row promises.

A scenario is `async def name(world)`. It gives the world servers, daemons and runs, does the harm
and the cancels, and says to the judge what the harm excuses. What must hold anyway (no cancel
lost, no answer false, nothing touched that nobody cancelled) the judge looks at by itself."""

ALL = {}


def scenario(function):
    ALL[function.__name__.replace("_", "-")] = function
    return function


def load():
    # pylint: disable=import-outside-toplevel
    from . import hints, redis_away, daemons, network, refusals, rights, crowds, races, bytes_, topology, storm # noqa: F401
    from . import failover, trust, left_alone, fleet_orders, flood, handed_on # noqa: F401
    return ALL
