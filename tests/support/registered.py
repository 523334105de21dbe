"""Plugins that register factories, and the one fault of an error."""

from __future__ import annotations

import types

from asyncrouter.hooks.markers import hookimpl


def make_word(*, share=0.5, name=""):
    """A word.

    With more text.
    """
    return share, name


def plugin_of(function):
    return types.SimpleNamespace(asyncrouter_register=hookimpl(function))


def fault_of(caught):
    (fault,) = caught.value.faults
    return fault.path, fault.message, fault.cure
