"""What is wrong with a configuration, or perhaps not meant, that no single value shows."""

from __future__ import annotations

from pathlib import Path
from random import SystemRandom
from typing import Any

from protosuite import fabric
from protosuite.auth import tokens
from protosuite.config import Config
from protosuite.config.mediachat import LOCAL
from protosuite.errors import StartError
from protosuite.net import exposure
from protosuite.net.listening import server_endpoint
from protosuite.storage import engines

MEDIA_TO_ITSELF = (
    "[mediachat] media = local: what is sent to this node other nodes do not have; name a folder that all of"
    " them share, or a bucket"
)


def check(config: Config, reactor: Any) -> list[tuple[str, str, str]]:
    """What is wrong with a configuration beyond its single values: (section, key, sentence)."""
    problems = []
    if config.auth.secret_file:
        try:
            tokens.load(Path(config.auth.secret_file))
        except StartError as error:
            problems.append(("auth", "secret_file", f"[auth] secret_file: {error}"))
    try:
        engines.resolve(config.suite.database, Path(config.suite.data))
    except StartError as error:
        problems.append(("suite", "database", str(error)))
    if why := fabric.problem(config.suite.fabric):
        problems.append(("suite", "fabric", f"[suite] fabric: {why}"))
    if why := _wrong_with_media(config.mediachat.media):
        problems.append(("mediachat", "media", f"[mediachat] media: {why}"))
    if config.counter.workers > 1 and config.counter.durability == "always":
        remedy = "set workers = 1, or durability = everysec"
        why = f"[counter] workers: with durability = always one process has to answer: {remedy}"
        problems.append(("counter", "workers", why))
    if config.counter.workers > 1 and _counts_in_redis(config):
        from protosuite.counter.holding import ALONE

        problems.append(("counter", "workers", ALONE))
    for name in config.suite.services:
        for endpoint in config.section(name).listen:
            if what := _wrong(config, reactor, name, endpoint):
                problems.append((name, "listen", what))
    return problems


async def warnings(config: Config, reactor: Any) -> list[str]:
    """What may be, and perhaps is not what is wanted. Others are asked, over the network."""
    found = [MEDIA_TO_ITSELF] if has_media_to_itself(config) else []
    if not _counts_in_redis(config):
        return found
    from protosuite.counter import promised
    from protosuite.fabric.address import parse

    own = config.suite
    less = await promised.look(config.counter, parse(own.fabric), own.fabric_timeout, reactor, SystemRandom())
    return found if less is None else [*found, less]


def _wrong_with_media(media: str) -> str | None:
    if media == LOCAL:
        return None
    from protosuite.mediachat.media.address import problem

    return problem(media)


def has_media_to_itself(config: Config) -> bool:
    """Whether this is one node of several whose media the others would not have."""
    is_here = config.mediachat.media == LOCAL
    return "mediachat" in config.suite.services and config.suite.fabric != fabric.LOCAL and is_here


def _counts_in_redis(config: Config) -> bool:
    return "counter" in config.suite.services and config.suite.fabric != fabric.LOCAL


def _wrong(config: Config, reactor: Any, service: str, endpoint: str) -> str | None:
    try:
        server_endpoint(reactor, service, endpoint)
    except StartError as error:
        return str(error)
    if exposure.is_exposed(config, service, endpoint) and not config.suite.insecure:
        return exposure.sentence(config, service, endpoint)
    return None
