"""The server's settings, read once from flags and environment, before anything heavy is imported.

Every flag `--queue-size` has an environment variable `MCQA_QUEUE_SIZE`; the flag wins. Flags may also be written with
underscores, as KServe's serving runtimes pass them (`--model_name`, `--http_port`).
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

from common import environment
from common.errors import SettingError
from common.names import INFERENCE_SERVICE

ENV_PREFIX = "MCQA_"
KSERVE_MOUNT = Path("/mnt/models")
SHIPPED_MODEL = Path(__file__).resolve().parents[2] / "models" / "tiny"


def _setting(default: Any, help: str, *, env: Sequence[str] = (), choices: Sequence[str] | None = None) -> Any:
    """A dataclass field with its help; `env` names further variables, read after our own."""
    return field(default=default, metadata={"help": help, "env": tuple(env), "choices": choices})


@dataclass(frozen=True, slots=True)
class Settings:
    """The server's settings. Sizes are in questions, prompt tokens or bytes, times in seconds."""

    model: str = _setting("", "model: a local folder, mlflow://name/version or hf://owner/model")
    model_dir: str = _setting("", "folder of the model, wins over --model (KServe passes /mnt/models)")
    model_name: str = _setting(INFERENCE_SERVICE, "name of the model in URLs and requests")
    model_version: str = _setting("", "version to report instead of the model's own")
    revision: str = _setting("", "name of this deployment's revision, in every answer", env=["K_REVISION"])
    device: str = _setting("auto", "where the model runs", choices=["auto", "cpu", "cuda"])
    dtype: str = _setting("auto", "number format of the weights", choices=["auto", "bfloat16", "float32", "int8"])
    max_tokens: int = _setting(0, "longest prompt accepted, in tokens (0: the model's own limit)")
    host: str = _setting("127.0.0.1", "address to listen on; 0.0.0.0 in a container")
    http_port: int = _setting(8080, "port of v1 and v2 REST", env=["PORT"])
    grpc_port: int = _setting(8081, "port of v2 gRPC (0: no gRPC)")
    queue_size: int = _setting(1024, "questions that may wait; beyond it requests get 503")
    queue_tokens: int = _setting(262_144, "prompt tokens that may wait; beyond it requests get 503")
    batch_tokens: int = _setting(0, "prompt tokens scored in one go (0: what suits the device)")
    max_questions: int = _setting(256, "questions in one request")
    max_body_bytes: int = _setting(4 * 1024 * 1024, "size of one request")
    request_timeout: float = _setting(60.0, "time for one request, after which it gets 504; clients may ask for less")
    max_new_tokens: int = _setting(512, "most tokens a client may ask for in one explanation")
    grace_period: float = _setting(30.0, "time to finish accepted work after SIGTERM")
    log_level: str = _setting("info", "what is logged", choices=["debug", "info", "warning", "error"])
    log_questions: bool = _setting(False, "log the questions' text with each request")

    @property
    def source(self) -> str:
        """The model's URI: --model-dir, --model, KServe's mount, or the model shipped with the code."""
        if self.model_dir or self.model:
            return self.model_dir or self.model
        for folder in (KSERVE_MOUNT, SHIPPED_MODEL):
            if (folder / "config.json").is_file():
                return str(folder)
        raise SettingError("no model: give --model FOLDER, --model mlflow://NAME/VERSION or --model hf://OWNER/MODEL")


def read_settings(argv: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """The settings from the command line (default: sys.argv) and the environment. Exits with usage on a bad flag."""
    env = os.environ if environ is None else environ
    parser = _parser()
    given = {name: value for name, value in vars(parser.parse_args(argv)).items() if value is not None}
    try:
        settings = Settings(**{**_from_environment(env), **given})
        _check(settings)
    except SettingError as error:
        parser.error(str(error))
    return settings


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m predictor",
        description="Answers coding multiple-choice questions over KServe's v1, v2 REST and v2 gRPC protocols.",
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=34, width=120),
    )
    for setting in fields(Settings):
        flag = "--" + setting.name.replace("_", "-")
        flags = [flag, "--" + setting.name] if "_" in setting.name else [flag]
        default = "none" if setting.default in ("", MISSING) else setting.default
        names = ", ".join([_variable(setting.name), *setting.metadata["env"]])
        parser.add_argument(
            *flags,
            dest=setting.name,
            type=_CONVERTERS[setting.type],
            choices=setting.metadata["choices"],
            nargs="?" if setting.type == "bool" else None,
            const=True if setting.type == "bool" else None,
            metavar=setting.name.rsplit("_", 1)[-1].upper() if not setting.metadata["choices"] else None,
            help=f"{setting.metadata['help']} [default: {default}; env: {names}]",
        )
    return parser


def _from_environment(env: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for setting in fields(Settings):
        for variable in (_variable(setting.name), *setting.metadata["env"]):
            if not env.get(variable, "").strip():
                continue
            value = _READERS[setting.type](env, variable, setting.default)
            choices = setting.metadata["choices"]
            if choices and value not in choices:
                raise SettingError(f"{variable} must be one of {', '.join(choices)}, found {value!r}")
            values[setting.name] = value
            break
    return values


def _check(settings: Settings) -> None:
    for name in ("queue_size", "queue_tokens", "max_questions", "max_body_bytes", "request_timeout", "max_new_tokens"):
        if not getattr(settings, name) > 0:  # NaN is not above 0 either
            raise SettingError(f"--{name.replace('_', '-')} must be above 0, found {getattr(settings, name)}")
    if not settings.grace_period >= 0:
        raise SettingError(f"--grace-period must not be negative, found {settings.grace_period}")
    if settings.max_questions > settings.queue_size:
        raise SettingError(
            f"--max-questions {settings.max_questions} exceeds --queue-size {settings.queue_size}: "
            "such a request could never be accepted"
        )
    for name in ("http_port", "grpc_port"):
        if not 0 <= getattr(settings, name) <= 65535:
            raise SettingError(f"--{name.replace('_', '-')} must be a port, found {getattr(settings, name)}")


def _variable(name: str) -> str:
    return ENV_PREFIX + name.upper()


def _flag(given: str) -> bool:
    try:
        return environment.parse_flag(given)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


_CONVERTERS: dict[Any, Any] = {"str": str, "int": int, "float": float, "bool": _flag}
_READERS: dict[Any, Any] = {
    "str": environment.text,
    "int": environment.whole,
    "float": environment.number,
    "bool": environment.flag,
}
