"""The types of daemon.json's values as pydantic models: one for an entry of ``runtimes``, one for all other keys."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

_DURATION = re.compile(r"([0-9]{1,9})([smhd])", re.ASCII)
_UNITS_S = MappingProxyType({"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0})

Count = Annotated[int, Field(ge=1)]


class _Model(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class EntryModel(_Model):
    """One entry of ``runtimes``."""

    path: str | None = None
    args: list[str] | None = Field(None, alias="runtimeArgs")
    runtime_type: str | None = Field(None, alias="runtimeType")
    options: dict[str, Any] | None = None


def _seconds(value: object) -> object:
    """Return the seconds of a duration: a number of them, or digits and one of s, m, h, d. Others are left to fail."""
    if isinstance(value, str) and (match := _DURATION.fullmatch(value)):
        return int(match[1]) * _UNITS_S[match[2]]
    # A bool is an int in Python, and no number in JSON.
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


Duration = Annotated[float, BeforeValidator(_seconds), Field(ge=0, le=100 * 365 * 86400)]
AbsolutePath = Annotated[str, Field(pattern=r"\A/")]


class LimitsModel(_Model):
    """``limits`` of the ``runtimed`` key."""

    connections: Count | None = None
    connections_per_user: Count | None = Field(None, alias="connections-per-user")


class ProbeModel(_Model):
    """``probe`` of the ``runtimed`` key."""

    enabled: bool | None = None
    timeout_s: Annotated[Duration, Field(ge=0.1, le=60)] | None = Field(None, alias="timeout")


class EngineModel(_Model):
    """One of ``containerd`` of the ``runtimed`` key."""

    address: AbsolutePath
    state: AbsolutePath
    root: AbsolutePath | None = None


class OwnModel(_Model):
    """The ``runtimed`` key. A new key is a field here, one in ``config.Own``, and a line in ``schema._EXPECTED``."""

    retain: Annotated[int, Field(ge=1, le=1000)] | None = None
    grace_s: Duration | None = Field(None, alias="grace")
    gc: bool | None = None
    containerd: list[EngineModel] | None = None
    limits: LimitsModel | None = None
    probe: ProbeModel | None = None


class TopModel(_Model):
    """Every key at the top of daemon.json that means something here, but ``runtimes``."""

    data_root: str | None = Field(None, alias="data-root")
    exec_root: str | None = Field(None, alias="exec-root")
    hosts: list[str] | None = None
    group: str | None = None
    pidfile: str | None = None
    log_level: str | None = Field(None, alias="log-level")
    log_format: str | None = Field(None, alias="log-format")
    debug: bool | None = None
    default_runtime: str | None = Field(None, alias="default-runtime")
    exec_opts: list[str] | None = Field(None, alias="exec-opts")
    runtimed: OwnModel | None = None
