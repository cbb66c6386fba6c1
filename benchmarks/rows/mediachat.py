"""Texts of a media chat, stored before they are answered, beside FastAPI."""

from __future__ import annotations

from benchmarks.bench import Bench, Figures
from benchmarks.comparing import Goal, Row, Side
from benchmarks.loading import Load, put
from benchmarks.peers import fastapi
from benchmarks.suite import serving

_CLIENTS = 50
_TEXT = 100  # characters
_LOAD = Load("texts", {"connections": _CLIENTS, "depth": 1, "content": _TEXT})


def _ours(bench: Bench) -> Figures:
    with serving(bench, "mediachat", {"hours_text": "always"}) as server:
        return put(bench, server, _LOAD).figures()


def _fastapi(bench: Bench) -> Figures:
    with fastapi.serving(bench) as server:
        return put(bench, server, _LOAD).figures()


ROWS = (
    Row(
        "mediachat-text",
        f"{_CLIENTS} clients, 1 text of {_TEXT} characters in flight each, durable",
        "texts/s",
        Side("mediachat", _ours),
        Side("FastAPI", _fastapi),
        (Goal("ratio", at_least=8),),
    ),
)
