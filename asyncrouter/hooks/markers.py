"""The two pluggy markers: ``hookspec`` for this package, ``hookimpl`` for every plugin."""

import pluggy

PROJECT = "asyncrouter"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)
