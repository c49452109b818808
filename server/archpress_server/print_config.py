"""The settings in force as TOML lines, each with where it came from."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from archpress_server.config import ENVIRONMENT_PREFIX, ServerConfig


def sources(
    flags: Mapping[str, str], environment: Mapping[str, str], file: Path | None
) -> dict[str, str]:
    """Return for each setting where its value comes from: the first that sets it wins."""
    in_file = set() if file is None else set(tomllib.loads(file.read_text()))
    variables = {name.upper() for name in environment}
    found = {}
    for name in ServerConfig.model_fields:
        variable = ENVIRONMENT_PREFIX + name.upper()
        if name in flags:
            found[name] = "flag"
        elif variable in variables:
            found[name] = f"environment {variable}"
        elif name in in_file:
            found[name] = f"file {file}"
        else:
            found[name] = "default"
    return found


def describe(config: ServerConfig, origins: Mapping[str, str]) -> str:
    """Return the settings as TOML, without a password, each line with its source."""
    values = json.loads(config.model_dump_json())
    shown = dict(origins)
    if config.database_url_file:
        shown["database_url"] = f"file {config.database_url_file}"
    url = sa.make_url(config.url)
    if "password" in url.query:
        url = url.update_query_dict({"password": "***"})
    values["database_url"] = url.render_as_string(hide_password=True)
    return "".join(f"{name} = {_toml(value)}  # {shown[name]}\n" for name, value in values.items())


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        pairs = (f"{json.dumps(k)} = {_toml(v)}" for k, v in value.items())
        return "{" + ", ".join(pairs) + "}"
    return json.dumps(value)
