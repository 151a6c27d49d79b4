"""YAML of requests and packages, read as Kubernetes and Kubeflow do: a date is a string, not a timestamp."""

from __future__ import annotations

import yaml

_Base: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class StringDateLoader(_Base):  # type: ignore[valid-type,misc]
    """A safe loader without timestamps."""


StringDateLoader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
