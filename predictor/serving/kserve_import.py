"""Imports the part of kserve that serves, and only that.

`import kserve` runs a package `__init__` that also imports the client for the Kubernetes API, its 60 models, pandas
and pyarrow: more than half of the import's time, for nothing that a model server does. Serving needs
`kserve.model_server` and its imports. Two things are made lazy here, so that kserve stays complete for whoever needs
the rest of it:

- `kserve/__init__.py` runs when a name that serving does not need (`kserve.KServeClient`) is first looked up in the
  package, not on `import kserve.model_server`.
- `kserve.protocol.infer_type` and `kserve.utils.utils` import pandas for `as_dataframe` and one annotation. They get
  a stand-in that imports pandas at its first use.

kserve also reads `sys.argv` at import time and exits on flags that are not its own, so it sees none.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any


def import_kserve() -> None:
    """Imports the serving part of kserve; afterwards `from kserve.model_server import ModelServer` is free.

    Raises ModuleNotFoundError when the SDK is not installed (a folder `kserve/` without Python code in the working
    directory would otherwise import as an empty namespace package).
    """
    if "kserve.model_server" in sys.modules:
        return
    if "kserve" not in sys.modules:
        sys.modules["kserve"] = _lazy_package("kserve")
    with _no_arguments(), _stand_in("pandas", "DataFrame") as pandas:
        importlib.import_module("kserve.model_server")
    for name in ("kserve.protocol.infer_type", "kserve.utils.utils"):
        if getattr(sys.modules[name], "pd", None) is pandas:
            sys.modules[name].pd = _LazyModule("pandas")  # type: ignore[attr-defined]


class _LazyPackage(ModuleType):
    """A package whose `__init__` runs when a name that is not one of its submodules is looked up."""

    def __getattr__(self, name: str) -> Any:
        spec = self.__spec__
        if name.startswith("__") or spec is None or spec.loader is None:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        if importlib.util.find_spec(f"{self.__name__}.{name}"):
            return importlib.import_module(f"{self.__name__}.{name}")
        self.__class__ = ModuleType  # type: ignore[assignment]
        spec.loader.exec_module(self)
        return getattr(self, name)


class _LazyModule(ModuleType):
    """Stands in for a module, which is imported when an attribute of it is looked up."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(importlib.import_module(self.__name__), name)


def _lazy_package(name: str) -> ModuleType:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None or not spec.origin:
        raise ModuleNotFoundError(f"the package {name} is not installed", name=name)
    package = _LazyPackage(name)
    package.__spec__ = spec
    package.__loader__ = spec.loader
    package.__file__ = spec.origin
    package.__path__ = list(spec.submodule_search_locations or [])
    package.__package__ = name
    return package


@contextmanager
def _stand_in(name: str, *classes: str) -> Iterator[ModuleType]:
    """Inside, `import name` gives an empty module with these classes, or the real one if it is already loaded."""
    if name in sys.modules:
        yield sys.modules[name]
        return
    module = ModuleType(name)
    for cls in classes:
        setattr(module, cls, type(cls, (), {}))
    sys.modules[name] = module
    try:
        yield module
    finally:
        del sys.modules[name]


@contextmanager
def _no_arguments() -> Iterator[None]:
    argv = sys.argv
    sys.argv = argv[:1]
    try:
        yield
    finally:
        sys.argv = argv
