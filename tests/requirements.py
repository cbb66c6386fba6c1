"""What a test needs of the machine. Without it the test is skipped, with the reason.

With ``PROTOSUITE_REQUIRE_ALL=1`` in the environment, as in CI, nothing is skipped: what is missing fails.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NoReturn
from unittest import SkipTest

# Debian's packages; a program that is not here is in the one of its name.
PACKAGES = {"nc": "netcat-openbsd", "umount": "mount", "nginx": "nginx-light"}
PACKAGES |= {"chromedriver": "chromium-driver", "node": "nodejs", "ip": "iproute2", "unshare": "util-linux"}
PACKAGES |= {"promtool": "prometheus", "go": "golang-go", "man": "man-db"}


def missing(reason: str) -> NoReturn:
    """Skip the test for `reason`, or fail it where nothing may be skipped."""
    if os.environ.get("PROTOSUITE_REQUIRE_ALL") == "1":
        raise AssertionError(f"{reason}, and PROTOSUITE_REQUIRE_ALL is set")
    raise SkipTest(reason)


def require(*programs: str) -> None:
    """The test uses these programs."""
    for program in programs:
        if shutil.which(program) is None:
            missing(f"{program} is not installed: apt-get install {PACKAGES.get(program, program)}")


def require_postgresql() -> Path:
    """The test runs a PostgreSQL server of its own: the folder of the newest one's programs."""
    if importlib.util.find_spec("psycopg") is None:
        missing("there is no driver for PostgreSQL here: pip install 'protosuite[postgres]'")
    found = list(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if own := shutil.which("postgres"):
        found.append(Path(own))
    if not found:
        missing("postgresql is not installed: apt-get install postgresql")
    return max(found, key=lambda each: (each.parts[-3].isdecimal() and int(each.parts[-3]), each)).parent


def require_netcat() -> None:
    """The test uses ``nc -N``, which only one of the programs of that name has."""
    require("nc")
    text = subprocess.run(["nc", "-h"], capture_output=True, check=False)
    if b"OpenBSD" not in text.stdout + text.stderr:
        missing("this nc is another one: apt-get install netcat-openbsd")


def require_tls() -> None:
    """The test uses TLS, and the ``openssl`` program for a certificate."""
    require("openssl")
    if importlib.util.find_spec("OpenSSL") is None:
        missing("Twisted has no TLS here: pip install 'protosuite[tls]'")


def require_root() -> None:
    """The test does what only root may."""
    if os.geteuid() != 0:
        missing("only root may do this: run the tests as root")


def require_own_network() -> None:
    """The test runs a process in a network of its own, where nobody else can reach what it listens on."""
    require("unshare")
    if subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False).returncode:
        missing("no network namespaces here: run the tests as root, on a machine that allows them")


def require_atheris() -> None:
    """The test fuzzes. Where atheris does not come ready made it is not asked for."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise SkipTest("atheris comes ready made for Linux on x86-64 alone")
    if importlib.util.find_spec("atheris") is None:
        missing("there is no atheris here: pip install 'protosuite[fuzz]'")
