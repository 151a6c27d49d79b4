"""The page's own settings. Where the loop's parts are comes from the variables that the functions read, too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from common.environment import flag
from common.errors import SettingError

LOGINS = ("none", "oidc")
EVERYBODY, SUBJECT = "*", "sub:"
"""In MCQA_UI_OPERATORS: whoever has signed in; an account by the id that the provider gives it."""


@dataclass(frozen=True, slots=True)
class UiSettings:
    """`actions`: operators may change production from the page. `operators` are e-mail addresses in lower case,
    `sub:ID` or `*`. `url` is the page's public address, "" for the one it listens on.
    """

    actions: bool = False
    login: str = "none"
    operators: frozenset[str] = frozenset()
    url: str = ""
    hosts: tuple[str, ...] = ()


def read_settings(environ: Mapping[str, str]) -> UiSettings:
    """SettingError names the variable that is wrong."""
    login = environ.get("MCQA_UI_LOGIN", "").strip().lower() or "none"
    if login not in LOGINS:
        raise SettingError(f"MCQA_UI_LOGIN must be one of {', '.join(LOGINS)}, found {login!r}")
    url = environ.get("MCQA_UI_URL", "").strip().rstrip("/")
    if url and urlsplit(url).scheme not in ("http", "https"):
        raise SettingError(f"MCQA_UI_URL must be an http or https address, found {url!r}")
    if login == "oidc" and not url:
        raise SettingError("MCQA_UI_LOGIN=oidc needs MCQA_UI_URL: the address to which the sign-in leads back")
    operators, actions = _entries(environ, "MCQA_UI_OPERATORS"), flag(environ, "MCQA_UI_ACTIONS")
    if login == "oidc" and actions and not operators:
        raise SettingError("MCQA_UI_ACTIONS with a sign-in needs MCQA_UI_OPERATORS: e-mail addresses, sub:ID, or *")
    return UiSettings(
        actions=actions,
        login=login,
        operators=frozenset(entry if entry.startswith(SUBJECT) else entry.lower() for entry in operators),
        url=url,
        hosts=tuple(_entries(environ, "MCQA_ALLOWED_HOSTS")),
    )


def allowed_hosts(settings: UiSettings) -> list[str]:
    """Names by which a browser may open the page: others are somebody's DNS rebinding."""
    public = urlsplit(settings.url).hostname
    return ["localhost", "127.0.0.1", "::1", *settings.hosts, *([public] if public else [])]


def _entries(environ: Mapping[str, str], name: str) -> list[str]:
    return [entry for part in environ.get(name, "").split(",") if (entry := part.strip())]
