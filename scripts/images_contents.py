"""What an image must not hold. `images_contents.py IMAGE TARBALL < INSPECTED.json`: the exported file system, and what
`podman image inspect` says. Prints what it found; status 1 when that is anything.
"""

from __future__ import annotations

import json
import re
import stat
import sys
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
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
SPACE_OF_OURS = ("app/", "opt/venv/")
SMALL = 256 * 1024
"""Bytes: keys and settings are small, and reading libraries for them would take minutes."""


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
    if file.path.startswith(SPACE_OF_OURS) and file.uid != 0:
        yield f"does not belong to root: /{path}"


def read(tarball: str) -> Iterator[File]:
    """The entries of an exported file system."""
    kinds = {tarfile.REGTYPE: "file", tarfile.LNKTYPE: "file", tarfile.DIRTYPE: "folder", tarfile.SYMTYPE: "link"}
    with tarfile.open(tarball) as archive:
        for entry in archive:
            text = b""
            if entry.isfile() and entry.size <= SMALL and (found := archive.extractfile(entry)):
                text = found.read()
            name = entry.name.removeprefix("./").lstrip("/")
            yield File(name, entry.mode, entry.uid, kinds.get(entry.type, "device"), text)


def main(argv: list[str]) -> int:
    image, tarball = argv
    (inspected,) = json.load(sys.stdin)
    found = sorted(findings(read(tarball), inspected))
    shown = 20
    print(f"{image}: {'nothing found' if not found else f'{len(found)} findings'}")
    for line in found[:shown]:
        print(f"  {line}")
    if len(found) > shown:
        print(f"  … and {len(found) - shown} more")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
