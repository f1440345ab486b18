"""Builds the record of the daemon's functions from an object of a test."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from runtimed.api.functions import DaemonFunctions


def functions_of(fake: object) -> DaemonFunctions:
    """Return a record of the methods of ``fake``, looked up at each call; one that it lacks fails then."""

    def function(name: str) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            return getattr(fake, name)(*args, **options)

        return call

    return DaemonFunctions(**{field.name: function(field.name) for field in dataclasses.fields(DaemonFunctions)})
