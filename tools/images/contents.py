"""What an image must not be or hold: by its exported file system, and by what `podman image inspect` reports."""

from __future__ import annotations

import re
import stat
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

UID = "65532"
LABELS = ("title", "description", "licenses", "version", "revision")
COMPILERS = {"gcc", "g++", "cc", "c++", "clang", "ld", "as", "make", "cmake", "ninja", "cargo", "rustc", "go", "gdb"}
FETCHERS = {"git", "svn", "curl", "wget", "nc", "ncat", "telnet", "ssh", "sshd"}
PACKAGERS = {"pip", "pip3", "pip3.11", "uv", "uvx", "conda", "npm", "node"}
TOOLS = COMPILERS | FETCHERS | PACKAGERS
INSTALLERS = re.compile(r"/(site|dist)-packages/(pip|setuptools|wheel|uv|ensurepip|_distutils_hack)/")
SECRET_FILES = re.compile(
    r"(^|/)(\.env|\.netrc|\.pypirc|pip\.conf|id_(rsa|dsa|ecdsa|ed25519)|kubeconfig|\.git-credentials)$"
)
SECRET_TEXT = re.compile(
    rb"-----BEGIN (RSA |EC |DSA |OPENSSH |ENCRYPTED )?PRIVATE KEY-----\s+[A-Za-z0-9+/]{40}"
    rb"|(?<![A-Za-z0-9+/])AKIA(?![0-9A-Z]*EXAMPLE)[0-9A-Z]{16}(?![A-Za-z0-9+/])"
    rb"|ghp_[A-Za-z0-9]{36}|xox[bp]-[0-9]{10,}-|hooks\.slack\.com/services/T[A-Z0-9]{8,}/B"
)
SECRET_NAME = re.compile(r"(PASSWORD|SECRET|TOKEN|_KEY|CREDENTIAL)", re.IGNORECASE)
ROOT_OWNED = ("app/", "opt/venv/")
SMALL = 256 * 1024
"""Bytes: keys and settings are small, and reading libraries for them would take minutes."""
SHOWN = 20


@dataclass(frozen=True, slots=True)
class File:
    """One entry of the file system: its path without a leading slash, mode and owner; `text` of small files."""

    path: str
    mode: int
    uid: int
    kind: str = "file"
    text: bytes = b""


def findings(files: Iterable[File], inspected: Mapping[str, Any]) -> Iterator[str]:
    """One line for each thing the image must not be or hold."""
    yield from _of_configuration(inspected.get("Config") or {})
    for file in files:
        yield from _of_file(file)


def _of_configuration(config: Mapping[str, Any]) -> Iterator[str]:
    user = str(config.get("User") or "")
    if user.partition(":")[0] != UID:
        yield f"runs as user {user or 'root'!r}, not as {UID}"
    labels = config.get("Labels") or {}
    for label in LABELS:
        if not labels.get(f"org.opencontainers.image.{label}"):
            yield f"has no label org.opencontainers.image.{label}"
    for setting in config.get("Env") or ():
        name, _, value = setting.partition("=")
        if value and SECRET_NAME.search(name):
            yield f"sets {name} in its environment"


def _of_file(file: File) -> Iterator[str]:
    path = PurePosixPath(file.path)
    if file.kind == "file":
        if file.mode & (stat.S_ISUID | stat.S_ISGID):
            yield f"setuid or setgid: /{path}"
        if path.parent.name in ("bin", "sbin") and path.name in TOOLS:
            yield f"a tool for building or fetching: /{path}"
        if INSTALLERS.search(f"/{path}"):
            yield f"an installer: /{path}"
        if SECRET_FILES.search(file.path):
            yield f"by its name a secret: /{path}"
        if SECRET_TEXT.search(file.text):
            yield f"holds what looks like a key: /{path}"
    if file.kind != "link" and file.mode & stat.S_IWOTH and not file.mode & stat.S_ISVTX and file.kind != "device":
        yield f"anybody may write: /{path}"
    if file.path.startswith(ROOT_OWNED) and file.uid != 0:
        yield f"does not belong to root: /{path}"


def read(archive_file: Path) -> Iterator[File]:
    """The entries of an exported file system."""
    kinds = {tarfile.REGTYPE: "file", tarfile.LNKTYPE: "file", tarfile.DIRTYPE: "folder", tarfile.SYMTYPE: "link"}
    with tarfile.open(archive_file) as archive:
        for entry in archive:
            text = b""
            if entry.isfile() and entry.size <= SMALL and (content := archive.extractfile(entry)):
                text = content.read()
            name = entry.name.removeprefix("./").lstrip("/")
            yield File(name, entry.mode, entry.uid, kinds.get(entry.type, "device"), text)


def report(image: str, problems: Sequence[str]) -> list[str]:
    """Lines for people: the first findings, and how many there are."""
    lines = [f"{image}: {f'{len(problems)} findings' if problems else 'nothing found'}"]
    lines += [f"  {problem}" for problem in problems[:SHOWN]]
    if len(problems) > SHOWN:
        lines.append(f"  … and {len(problems) - SHOWN} more")
    return lines
