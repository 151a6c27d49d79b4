"""The images: their Dockerfiles and locks as text, and, where there is an engine and a base, containers of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Image:
    """A Dockerfile and the lock of its packages. `modules`: what `python -m` runs in it."""

    name: str
    folder: Path

    @property
    def dockerfile(self) -> Path:
        return self.folder / "Dockerfile"

    @property
    def lock(self) -> Path:
        return self.folder / "requirements.lock"

    def instructions(self) -> list[tuple[str, str]]:
        """(INSTRUCTION, arguments), continued lines joined, comments left out."""
        text = "\n".join(line for line in self.dockerfile.read_text().splitlines() if not line.startswith("#"))
        lines = [line.strip() for line in text.replace("\\\n", " ").splitlines()]
        return [(line.split()[0].upper(), " ".join(line.split()[1:])) for line in lines if line]

    def copied(self) -> list[Path]:
        """What of the checkout gets into /app."""
        sources: list[Path] = []
        for instruction, arguments in self.instructions():
            *actual, to = arguments.split()
            if instruction == "COPY" and to.startswith("/app") and not arguments.startswith("--from"):
                sources += [ROOT / source for source in actual]
        return sources


IMAGES = [
    Image("predictor", ROOT / "predictor"),
    Image("functions", ROOT / "functions"),
    Image("pipelines", ROOT / "pipelines"),
    Image("mlflow", ROOT / "deploy" / "mlflow"),
    Image("ui", ROOT / "ui"),
]


def pins(lock: Path) -> dict[str, str]:
    """Name and version of each package."""
    lines = [line.split(" ")[0] for line in lock.read_text().splitlines() if line[:1].isalnum()]
    return dict(line.split("==") for line in lines)
