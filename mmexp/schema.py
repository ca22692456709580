"""How a component's config reaches YAML: `@schema(group, name)` on a dataclass that can build itself.

The dataclass is stored as `schema/<group>/<name>`; `conf/<group>/<name>.yaml` inherits it with
`defaults: [/schema/<group>/<name>@_here_]` and states only what differs. Nothing here, and no module
that declares a schema, imports torch: `--help` and `--cfg job` stay quick.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable, Iterable
from typing import TypeVar

from hydra.core.config_store import ConfigStore

ConfigClass = TypeVar("ConfigClass", bound=type)

# "<group>/<name>" of every schema, and its class.
SCHEMAS: dict[str, type] = {}

COMPONENT_PACKAGES = ("models", "data", "losses", "embedder_archs", "reranker_archs", "adapters", "launchers")


class ConfigError(ValueError):
    """What a user asked for cannot be done. The message says what was asked, why not, and what to type instead."""


def schema(group: str, name: str) -> Callable[[ConfigClass], ConfigClass]:
    """Register a config dataclass as option `name` of config group `group`."""

    def register(config_class: ConfigClass) -> ConfigClass:
        ConfigStore.instance().store(group=f"schema/{group}", name=name, node=config_class, provider="mmexp")
        SCHEMAS[f"{group}/{name}"] = config_class
        return config_class

    return register


def register_components() -> None:
    """Import every component module, so that its schemas are stored. A new file needs no list to be added to."""
    for package_name in COMPONENT_PACKAGES:
        package = importlib.import_module(f"mmexp.{package_name}")
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{package.__name__}.{module.name}")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the known word nearest to `word`, or "" when none is near."""
    nearest = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" Did you mean {nearest[0]!r}?" if nearest else ""
