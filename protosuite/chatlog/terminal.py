"""``protosuite-chatlog`` on a terminal: the history, a status line, and a line to write in."""

from __future__ import annotations

import asyncio
import math
from argparse import Namespace
from contextlib import suppress
from typing import Any

from prompt_toolkit.application import Application
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.filters import Condition
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.layout import BufferControl, FormattedTextControl, HSplit, Layout, UIContent, Window
from prompt_toolkit.layout.controls import UIControl
from prompt_toolkit.layout.dimension import Dimension
from prompt_toolkit.layout.processors import BeforeInput
from prompt_toolkit.styles import Style
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from protosuite import program, reaching
from protosuite.chatlog.client import ChatLogClientFactory, room_url
from protosuite.chatlog.lines import content_problem
from protosuite.chatlog.pane import Pane, wrap
from protosuite.chatlog.session import refusal_line, start
from protosuite.chatlog.view import Change
from protosuite.errors import Overloaded, ServerRefused
from protosuite.program import shown

KEEP = 50_000  # entries held
_OLDER = 200  # entries asked for at the top
_CLOSE_TIMEOUT = 2.0  # seconds that a server has to answer a close
_STYLE = Style.from_dict(
    {
        "time": "ansibrightblack",
        "date": "ansibrightblack italic",
        "author": "ansicyan bold",
        "own": "ansigreen bold",
        "status": "reverse",
    }
)
_HELP = "Enter sends, Alt+Enter begins a new line, Page Up and Page Down scroll, Ctrl-D leaves"


class Chat:
    """One chat. Needs a reactor that runs in asyncio's loop."""

    _factory: ChatLogClientFactory

    def __init__(self, arguments: Namespace) -> None:
        self._arguments = arguments
        self._waiting = 0  # own messages that are not acknowledged
        self._note = _HELP
        self._why = ""  # there is no connection
        self._is_loading = False
        self._is_leaving = False
        self._app: Application[None] | None = None
        self._clock: Any = None

    async def main(self, reactor: Any, arguments: Namespace) -> int:
        """Chat until the person leaves; the exit code."""
        self._clock = reactor
        url = room_url(arguments.host, arguments.port, arguments.room, arguments.tls)
        self._factory = factory = ChatLogClientFactory(
            reactor,
            url,
            self._changed,
            last=arguments.last,
            keep=KEEP,
            on_status=self._status,
            token=reaching.token(arguments),
            on_refusal=self._turned_away,
        )
        self._pane = Pane(factory.view, arguments.author)
        self._buffer = Buffer(multiline=True)
        self._app = app = self._application()
        start(reactor, factory)
        running = asyncio.ensure_future(app.run_async(handle_sigint=False, set_exception_handler=False))
        ended: Deferred[None] = Deferred()
        running.add_done_callback(lambda _: ended.callback(None))
        reactor.addSystemEventTrigger("before", "shutdown", self._shut, ended)
        await ended
        with suppress(EOFError):  # the terminal is gone
            running.result()
        waiting = self._waiting
        closed = factory.close()
        with suppress(Exception):
            await closed.addTimeout(_CLOSE_TIMEOUT, reactor)
        if factory.refusal is not None:
            raise program.Failed(refusal_line(factory.refusal))
        if waiting:
            raise program.Failed(f"{_messages(waiting)} not acknowledged")
        return program.EXIT_OK

    def interrupted(self) -> None:
        """The program is to end. :meth:`_shut` sees to the terminal."""

    def _shut(self, ended: Deferred[None]) -> Deferred[None]:
        """The program ends: first the terminal is as it was."""
        self._exit()
        return ended

    def _exit(self) -> None:
        if self._app is not None and self._app.is_running and not self._app.is_done:
            self._app.exit()

    # What the client says.

    def _changed(self, change: Change) -> None:
        if change.is_reset:
            self._pane.reset()
            self._note = "the room is another one now"
        if change.problems:
            self._note = shown(change.problems[0])
        self._redraw()

    def _status(self, text: str) -> None:
        why, _, next = text.partition("; trying again")
        self._why = shown(why) if next or not self._why else self._why
        if not next:
            self._note = shown(text)
        self._redraw()

    def _turned_away(self, refusal: ServerRefused) -> None:
        """The server does not let us in any more. What was read and written can still be read."""
        self._note = refusal_line(refusal)
        if not self._factory.view.entries:  # there is nothing to see
            self._exit()
        self._redraw()

    def _redraw(self) -> None:
        if self._app is not None:
            self._app.invalidate()

    # What the person does.

    def _send(self, event: KeyPressEvent) -> None:
        text = self._buffer.text.strip("\n")
        if not text.strip():
            return
        self._note = ""
        if (problem := content_problem(text)) is not None:
            self._note = f"this cannot be sent: it is {problem}"
            return
        self._waiting += 1
        self._is_leaving = False
        append = self._factory.append(self._arguments.author, text)
        self._buffer.reset(append_to_history=True)
        self._pane.to_end()
        append.addCallbacks(lambda _: None, self._refused, errbackArgs=(text,)).addBoth(self._answered)

    def _refused(self, failure: Failure, text: str) -> None:
        if failure.check(ConnectionError):
            return
        error = failure.value
        why = error.message if isinstance(error, ServerRefused) else str(error)
        self._note = f"refused: {shown(why)}"
        if self._buffer.text:
            self._note += " (Ctrl-Up brings back what it was)"
        else:
            self._buffer.text = text
            self._buffer.cursor_position = len(text)

    def _answered(self, _: object) -> None:
        self._waiting -= 1
        if self._is_leaving and not self._waiting:
            self._is_leaving, self._note = False, ""
        self._redraw()

    def _scroll(self, rows: int) -> None:
        self._pane.scroll(rows)
        self._load_older()

    def _load_older(self) -> None:
        """Get what comes before, if the person is near its beginning."""
        view = self._factory.view
        if self._is_loading or self._pane.is_at_end or not self._pane.is_near_top or view.low <= view.first:
            return
        self._is_loading = True
        self._factory.scroll_back(_OLDER).addCallbacks(self._loaded, self._not_loaded)

    def _loaded(self, _: object) -> None:
        self._is_loading = False
        self._redraw()

    def _not_loaded(self, failure: Failure) -> None:
        self._is_loading = False
        if failure.check(ServerRefused, Overloaded):
            self._note = shown(str(failure.value))
        self._redraw()

    def _leave(self) -> None:
        """Leave at once, or the second time if something would be lost."""
        if self._waiting and not self._is_leaving:
            self._is_leaving = True
            self._note = f"{_messages(self._waiting)} not acknowledged: once more leaves all the same"
            return
        self._exit()

    # What is shown.

    def _application(self) -> Application[None]:
        writing = Window(
            BufferControl(self._buffer, input_processors=[BeforeInput("> ")]),
            height=Dimension(min=1, max=6),
            wrap_lines=True,
            dont_extend_height=True,
        )
        status = Window(
            FormattedTextControl(self._status_line),
            height=Dimension(min=1, max=4),
            dont_extend_height=True,
            style="class:status",
        )
        return Application(
            Layout(HSplit([Window(_History(self._pane)), status, writing]), focused_element=writing),
            key_bindings=self._keys(),
            style=_STYLE,
            full_screen=True,
            refresh_interval=0.5,  # seconds; the status line counts down
        )

    def _keys(self) -> KeyBindings:
        keys = KeyBindings()
        nothing_written = Condition(lambda: not self._buffer.text)
        keys.add("enter")(self._send)
        keys.add("escape", "enter")(lambda event: self._buffer.insert_text("\n"))
        keys.add("pageup")(lambda event: self._scroll(max(1, self._pane.height - 1)))
        keys.add("pagedown")(lambda event: self._scroll(-max(1, self._pane.height - 1)))
        keys.add("s-up")(lambda event: self._scroll(1))
        keys.add("s-down")(lambda event: self._scroll(-1))
        keys.add("c-end")(lambda event: self._pane.to_end())
        keys.add("c-up")(lambda event: self._buffer.history_backward())
        keys.add("c-down")(lambda event: self._buffer.history_forward())
        keys.add("c-c")(lambda event: self._leave())
        keys.add("c-d", filter=nothing_written)(lambda event: self._leave())
        keys.add("c-z")(lambda event: event.app.suspend_to_background())
        return keys

    def _status_line(self) -> str:
        """What there is to say, in as many lines as it takes."""
        parts = [shown(self._arguments.room), shown(self._arguments.author), self._connection()]
        if self._waiting:
            parts.append(f"{_messages(self._waiting)} waiting")
        if self._is_loading:
            parts.append("loading older ones")
        if not self._pane.is_at_end:
            parts.append(f"{self._pane.below} new below" if self._pane.below else "scrolled up")
        if self._note:
            parts.append(self._note)
        return "\n".join(f" {line}" for line in wrap(" · ".join(parts), self._pane.width - 2))

    def _connection(self) -> str:
        factory = self._factory
        if factory.is_connected:
            return "connected"
        if factory.refusal is not None:
            return "not connected"
        if factory.next_attempt is not None:
            wait = math.ceil(max(0.0, factory.next_attempt - self._clock.seconds()))
            return f"{self._why}, trying again in {wait} s"
        return f"{self._why}, trying again" if self._why else "connecting"


class _History(UIControl):
    """The pane, as a part of the screen."""

    def __init__(self, pane: Pane) -> None:
        self._pane = pane

    def create_content(self, width: int, height: int) -> UIContent:
        self._pane.resize(width, height)
        rows = self._pane.rows()
        return UIContent(lambda number: list(rows[number]), len(rows), show_cursor=False)


def _messages(count: int) -> str:
    return f"{count} message{'s' if count > 1 else ''}"
