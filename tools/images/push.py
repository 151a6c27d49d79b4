"""Pushes the images, and writes down what was pushed by digest: a tag can be moved, a digest cannot.

Who may push is the engine's business: log in before, with `images-login`, `podman login` or `docker login`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tools import process
from tools.errors import ToolError
from tools.images import engine as engines


def push(
    names: Sequence[str], *, registry: str, tag: str, asked: str, from_registry: str, digests: Path,
    flags: Sequence[str] = (),
) -> None:  # fmt: skip
    """`from_registry`: pushes the images of that name; "" where they have the registry's already."""
    if not registry:
        raise ToolError("to which registry? REGISTRY=HOST/PATH make images-push", exit_code=2)
    engine = engines.choose_installed(asked)
    if tag == "latest":
        raise ToolError("'latest' names no version: give TAG", exit_code=2)
    if registry.startswith("dev.local/"):
        raise ToolError("dev.local is not a registry: give REGISTRY=HOST/PATH", exit_code=2)
    digests.parent.mkdir(parents=True, exist_ok=True)
    lines = []
    for name in names:
        image = f"{registry}/{name}:{tag}"
        if from_registry:
            process.run([engine, "tag", f"{from_registry}/{name}:{tag}", image])
        digest = _push(engine, flags, image, digests.with_name(f"{digests.name}.one"))
        lines.append(f"{registry}/{name}@{digest}")
        print(lines[-1], flush=True)
    part = digests.with_name(f"{digests.name}.part")
    part.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    part.replace(digests)


def _push(engine: str, flags: Sequence[str], image: str, digest_file: Path) -> str:
    if engine == engines.DOCKER:
        process.run(["docker", "push", *flags, image])
        digest = process.output(["docker", "image", "inspect", "--format", "{{index .RepoDigests 0}}", image])
        return digest.strip().rpartition("@")[2]
    try:
        process.run([engine, "push", *flags, "--digestfile", str(digest_file), image])
        return digest_file.read_text(encoding="utf-8").strip()
    finally:
        digest_file.unlink(missing_ok=True)


def log_in(*, registry: str, user: str, password: str, asked: str) -> None:
    """The password goes to the engine's standard input: it is on no command line."""
    if not registry:
        raise ToolError("to which registry? REGISTRY=HOST/PATH", exit_code=2)
    if not user:
        raise ToolError("who? REGISTRY_USER", exit_code=2)
    if not password:
        raise ToolError("REGISTRY_PASSWORD is not set", exit_code=2)
    engine = engines.choose_installed(asked)
    host = registry.partition("/")[0]
    process.run([engine, "login", "--username", user, "--password-stdin", host], text=f"{password}\n")
