"""Builds the images: all of them, or those that are named."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tools import process
from tools.errors import ToolError
from tools.images import engine as engines
from tools.images import wheels
from tools.project import IMAGES, ROOT, VERSION

LABEL = "org.opencontainers.image"


@dataclass(frozen=True, slots=True)
class Settings:
    """What is asked for; empty strings leave the choice to the Dockerfiles or the engine.

    `wheels`: packages from this folder alone, without a network; `fill_wheels` downloads them into it first. `out`:
    each image is saved there too, an OCI archive NAME.tar. `pip_conf` and `ca`: pip's configuration and a CA bundle for
    this build; neither gets into an image.
    """

    registry: str
    tag: str
    engine: str = ""
    base: str = ""
    cuda: bool = False
    wheels: str = ""
    fill_wheels: bool = False
    out: str = ""
    pip_conf: str = ""
    ca: str = ""
    flags: tuple[str, ...] = ()


def build(settings: Settings, names: Sequence[str] = IMAGES) -> None:
    engine = engines.choose_working(settings.engine)
    flags = build_flags(engine, settings, revision=_git("rev-parse", "HEAD") or "unknown", epoch=_epoch())
    if settings.wheels:
        _prepare_wheels(settings, names)
    summary = []
    for name in names:
        image = f"{settings.registry}/{name}:{settings.tag}"
        began = time.monotonic()
        print(f"images: {image} with {engine}", flush=True)
        dockerfile = (engines.folder_of(name) / "Dockerfile").relative_to(ROOT)
        process.run([engine, "build", *flags, *settings.flags, "--file", str(dockerfile), "--tag", image, "."])
        if settings.out:
            _save(engine, image, Path(settings.out), name)
        summary.append(f"{image:<48} {_size(engine, image):>10} {time.monotonic() - began:5.0f} s")
    print("\n".join(["images: built", *summary]))


def build_flags(engine: str, settings: Settings, *, revision: str, epoch: str) -> list[str]:
    # Labels are flags and not build arguments: podman 4.3 takes a LABEL from its cache though an argument in it has
    # changed.
    flags = ["--label", f"{LABEL}.version={VERSION}", "--label", f"{LABEL}.revision={revision}"]
    if settings.base:
        flags += ["--build-arg", f"BASE={settings.base}"]
    if settings.cuda:
        flags += ["--build-arg", "TORCH=cuda"]
    if settings.pip_conf:
        flags += ["--secret", f"id=pip,src={settings.pip_conf}"]
    if settings.ca:
        flags += ["--secret", f"id=ca,src={settings.ca}"]
    if engine == engines.DOCKER:
        flags += ["--build-arg", f"SOURCE_DATE_EPOCH={epoch}"]
    else:
        flags += ["--timestamp", epoch, "--layers"]
    if settings.wheels:
        flags += ["--build-context", f"wheels={settings.wheels}", "--build-arg", "PIP_NO_INDEX=1"]
        # docker's --network=none needs an entitlement, and chroot isolation has the host's network: there PIP_NO_INDEX
        # alone keeps pip off the network.
        isolation = " ".join([*settings.flags, os.environ.get("BUILDAH_ISOLATION", "")])
        if engine != engines.DOCKER and not re.search(r"--network|chroot", isolation):
            flags.append("--network=none")
    return flags


def _prepare_wheels(settings: Settings, names: Sequence[str]) -> None:
    folder = Path(settings.wheels)
    folder.mkdir(parents=True, exist_ok=True)
    if settings.fill_wheels:
        wheels.download(folder, names, cuda=settings.cuda)
    if not any(folder.iterdir()):
        raise ToolError(f"{folder} is empty: WHEELS_FILL=1 fills it", exit_code=2)


def _save(engine: str, image: str, out: Path, name: str) -> None:
    """Only a whole archive gets its name."""
    out.mkdir(parents=True, exist_ok=True)
    part = out / f"{name}.part"
    commands = {
        engines.PODMAN: ["podman", "save", "--quiet", "--format", "oci-archive", "--output", str(part), image],
        engines.BUILDAH: ["buildah", "push", "--quiet", image, f"oci-archive:{part}:{image}"],
        engines.DOCKER: ["docker", "save", "--output", str(part), image],
    }
    process.run(commands[engine])
    part.replace(out / f"{name}.tar")


def _size(engine: str, image: str) -> str:
    if engine == engines.BUILDAH:  # a line for each of its names
        return (process.output(["buildah", "images", "--format", "{{.Size}}", image]).splitlines() or [""])[0]
    size = process.output([engine, "image", "inspect", "--format", "{{.Size}}", image]).strip()
    return f"{int(size) / 1e6:.0f} MB"


def _epoch() -> str:
    """The commit's time, so that the same commit gives the same layers."""
    return os.environ.get("SOURCE_DATE_EPOCH") or _git("log", "-1", "--format=%ct") or "0"


def _git(*arguments: str) -> str:
    try:
        completed = process.attempt(["git", *arguments])
    except ToolError:
        return ""
    return "" if completed.returncode else completed.stdout.strip()
