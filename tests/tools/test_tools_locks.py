"""What of the resolver's markers a lock file keeps."""

from __future__ import annotations

import pytest

from tools.locks import plain_markers

LINUX = "platform_machine == 'x86_64' and sys_platform == 'linux'"


@pytest.mark.parametrize(
    ("resolved", "locked"),
    [
        (f"a==1 ; {LINUX} \\\n    --hash=x\n", "a==1 \\\n    --hash=x\n"),
        (f"a==1 ; python_full_version < '3.12' and {LINUX} \\\n", "a==1 ; python_version == '3.11' \\\n"),
        (
            f"a==2 ; python_full_version >= '3.12' and {LINUX} \\\n",
            "a==2 ; python_version == '3.12' or python_version == '3.13' \\\n",
        ),
        ("a==1 ; implementation_name != 'pypy'\n", "a==1\n"),
        ("a==1 \\\n    --hash=x\n", "a==1 \\\n    --hash=x\n"),
        ("a==1 ; sys_platform == 'win32' \\\n", "\n"),
    ],
)
def test_markers_name_pythons_only(resolved: str, locked: str) -> None:
    assert plain_markers(resolved) == locked
