"""The images' locks: the project's own versions, hashes for all of them, and neither too much nor too little."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from images_text import IMAGES, ROOT, Image, pins

PROJECT = pins(ROOT / "requirements.lock")
TORCH = re.search(r'"torch==([0-9.]+)"', (ROOT / "pyproject.toml").read_text())
# Of these the project has no use outside of an image.
OWN = {"mlflow": {"boto3", "botocore", "jmespath", "s3transfer", "flask-wtf", "wtforms"}}
NOT_IN = {
    "functions": {"torch", "kserve", "mlflow", "kfp", "transformers", "pandas", "kubernetes", "setuptools"},
    "predictor": {"mlflow", "kfp", "transformers", "peft", "matplotlib", "pandas", "kubernetes", "setuptools", "scipy"},
    "pipelines": {"kserve", "functions-framework"},
    "mlflow": {"torch", "kserve", "kfp", "transformers", "matplotlib", "scikit-learn"},
    "ui": {"torch", "kserve", "mlflow", "kfp", "transformers", "matplotlib", "kubernetes", "setuptools"},
}
every = pytest.mark.parametrize("image", IMAGES, ids=lambda image: image.name)


@every
def test_versions_are_those_of_the_project(image: Image) -> None:
    own = OWN.get(image.name, set())
    result = pins(image.lock)
    assert result
    assert {name: version for name, version in result.items() if name not in own} == {
        name: PROJECT.get(name) for name in result if name not in own
    }, "make lock"
    assert own <= result.keys()


@every
def test_every_package_has_a_hash(image: Image) -> None:
    text = image.lock.read_text()
    packages = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
    assert packages
    assert not [item.split()[0] for item in packages if "--hash=sha256:" not in item]


@every
def test_hashes_are_those_of_the_project(image: Image) -> None:
    def hashes(lock: Path) -> dict[str, set[str]]:
        packages = re.split(r"^(?=[a-z0-9])", lock.read_text(), flags=re.MULTILINE)[1:]
        return {item.split("==")[0]: set(re.findall(r"sha256:([0-9a-f]{64})", item)) for item in packages}

    project = hashes(ROOT / "requirements.lock")
    for name, result in hashes(image.lock).items():
        assert name not in project or result == project[name], name


@every
def test_holds_nothing_that_it_must_not(image: Image) -> None:
    assert not pins(image.lock).keys() & NOT_IN[image.name]
    assert "torch" not in pins(image.lock), "its build is the image's choice"


def test_the_cuda_build_is_the_same_torch() -> None:
    assert TORCH is not None
    cuda = pins(ROOT / "predictor" / "torch-cuda.lock")
    assert cuda["torch"] == TORCH[1]
    assert any(name.startswith("nvidia-cublas") for name in cuda)
    assert not cuda.keys() & PROJECT.keys(), "a package would be installed twice"
    for image in IMAGES:
        if "torch-cuda.lock" in image.dockerfile.read_text():
            assert ("ARG", f"TORCH_VERSION={TORCH[1]}") in image.instructions()


def imports(path: Path) -> Iterator[str]:
    """Modules that a file imports, wherever in it; `from a import b` is a.b where that is a module."""
    yield from imports_of(ast.parse(path.read_text()))


def imports_of(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (name for alias in node.names if file_of(name := f"{node.module}.{alias.name}"))


def imports_when_imported(path: Path) -> Iterator[str]:
    """Those of `imports` that run with the module itself: outside of functions and of `if TYPE_CHECKING`."""
    tree = ast.parse(path.read_text())
    for node in [*ast.walk(tree)]:
        later = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        never = isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        if later or never:
            vars(node)["body"] = [ast.Pass()]
    yield from imports_of(tree)


def file_of(module: str) -> Path | None:
    where = ROOT / module.replace(".", "/")
    return next((file for file in (where.with_suffix(".py"), where / "__init__.py") if file.is_file()), None)


def reachable(image: Image) -> dict[Path, list[str]]:
    """Our files that the image's own folder imports, also through others, and what each imports.

    The page shows more on a laptop, where `local` and `predictor` are: what it imports in a function for that does not
    count. tests/images/test_images_ui.py starts it without them.
    """
    imported = imports_when_imported if image.name == "ui" else imports
    waiting = sorted(image.folder.rglob("*.py")) if image.copied() else []
    result: dict[Path, list[str]] = {}
    while waiting:
        path = waiting.pop()
        if path not in result:
            result[path] = list(imported(path))
            waiting += [file for module in result[path] if (file := file_of(module))]
    return result


# Imported where the image never comes: `mcqa evaluate --bank hf:…`; reading weights, of which functions want the names.
ELSEWHERE = {("pipelines", "datasets"), ("functions", "torch"), ("functions", "safetensors")}


@every
def test_everything_that_is_imported_is_there(image: Image) -> None:
    providers = importlib.metadata.packages_distributions()
    have = {*pins(image.lock)} | ({"torch"} if "torch-cuda.lock" in image.dockerfile.read_text() else set())
    for path, modules in reachable(image).items():
        for module in {item.split(".")[0] for item in modules if not file_of(item)} - sys.stdlib_module_names:
            names = {re.sub(r"[-_.]+", "-", item).lower() for item in providers.get(module, [module])}
            assert names & have or (image.name, module) in ELSEWHERE or (ROOT / module / "__init__.py").is_file(), (
                f"{path.relative_to(ROOT)} imports {module}: add it to {image.folder.name}/requirements.in"
            )


@every
def test_every_file_of_ours_that_is_imported_is_copied(image: Image) -> None:
    for path in reachable(image):
        assert any(path == item or path.is_relative_to(item) for item in image.copied()), (
            f"{image.name}/Dockerfile does not copy {path.relative_to(ROOT)}, which something in it imports"
        )


def test_requirements_name_no_versions() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    direct = {re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", item)[0]).lower() for item in project}
    transitive = {
        "flask",
        "uvicorn",
        "boto3",
        "setuptools",
        "httpx",
    }  # used directly in an image, and by others' choice there
    for image in IMAGES:
        for line in (image.folder / "requirements.in").read_text().splitlines():
            if name := line.partition("#")[0].strip():
                assert re.fullmatch(r"[a-z0-9-]+(\[[a-z,]+\])?", name), f"{name}: versions come from requirements.lock"
                assert name.partition("[")[0] in direct | transitive, name
