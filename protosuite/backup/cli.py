"""``protosuite-backup``: back up a suite, check a backup, or make a data folder from one."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import attrs
from tqdm import tqdm

from protosuite import config as configuration
from protosuite import program
from protosuite.backup.archive import Advance, Reader, media_name
from protosuite.backup.examining import Report, examine
from protosuite.backup.making import make, pour
from protosuite.backup.manifest import TooNew
from protosuite.backup.packing import Packed, Source, pack
from protosuite.backup.restoring import restore
from protosuite.config import ConfigurationError
from protosuite.config.mediachat import LOCAL
from protosuite.errors import StartError
from protosuite.program import EXIT_FAILED, EXIT_OK, Failed
from protosuite.storage import engines

NAME = "protosuite-backup"

_SHOWN = 20  # lines of one sort


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the program."""
    arguments = parse(argv)
    act = _verify if arguments.verify else _restore if arguments.restore else _back_up
    sys.exit(_run(lambda: act(arguments)))


def parse(argv: Sequence[str] | None = None) -> Namespace:
    """The command line. Ends the program if it is wrong."""
    parser = program.parser(
        NAME,
        "Back up a suite, running or not, into one file; check such a file; make a data folder from it.",
        f"{NAME} --config suite.ini /backup/suite-2026-11-21.tar\n"
        f"  {NAME} --verify /backup/suite-2026-11-21.tar\n"
        f"  {NAME} --restore /backup/suite-2026-11-21.tar --config suite.ini",
    )
    parser.add_argument("file", metavar="FILE", help="the backup; - is standard output, or input")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--verify", action="store_true", help="check that FILE is whole and right")
    what.add_argument("--restore", action="store_true", help="put FILE into the data folder, which is empty")
    parser.add_argument("-c", "--config", metavar="SETTINGS", help="the suite's configuration file")
    parser.add_argument("--force", action="store_true", help="replace FILE if it is there")
    parser.add_argument("--json", action="store_true", help="print what was found or done as a JSON object")
    arguments = parser.parse_args(argv)
    _check(parser, arguments)
    return arguments


def _check(parser: ArgumentParser, arguments: Namespace) -> None:
    is_reading = arguments.verify or arguments.restore
    if arguments.force and is_reading:
        parser.error("--force is for a backup that is made")
    if arguments.file == "-" and not is_reading:
        if arguments.json:
            parser.error("--json would be in the midst of the backup: give it a name")
        if sys.stdout.isatty():
            parser.error("a backup is nothing for a terminal: redirect it, or give it a name")


def _run(act: Callable[[], int]) -> int:
    """Do it; the exit code. A signal ends it as if it were a failure: nothing half done stays."""
    signals: list[int] = []

    def interrupted(number: int, frame: object) -> None:
        if not signals:  # a second one does not keep us from tidying up
            signals.append(number)
            raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, interrupted)
    try:
        return act()
    except KeyboardInterrupt:
        return 128 + (signals[0] if signals else signal.SIGINT)
    except ConfigurationError as error:
        for problem in error.problems:
            program.say(str(problem))
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has left
    except (Failed, StartError, TooNew) as error:
        program.say(f"{NAME}: {error}")
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        program.say(f"{NAME}: {where}{error.strerror}")
    return EXIT_FAILED


def _back_up(arguments: Namespace) -> int:
    source = _place(arguments)
    created_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    with _Bar() as bar:

        def packing(write: Callable[[bytes], object], folder: Path) -> Packed:
            return pack(source, write, folder, created_at, bar)

        if arguments.file == "-":
            made = pour(packing, sys.stdout.buffer)
        else:
            made = make(packing, Path(arguments.file), arguments.force)
    if arguments.json:
        _print(
            file=arguments.file,
            **made.heading.fields(),
            bytes=made.bytes,
            media=made.media,
            lost=made.lost,
        )
    elif sys.stderr.isatty():
        media = f"without the media in {source.media}" if source.media else f"{made.media:,} media files"
        program.say(f"{arguments.file}: {made.bytes:,} bytes, {media}")
    if made.lost:
        program.say(
            f"{NAME}: the suite has lost {_many(len(made.lost), 'media file')}; all else is in the backup"
        )
    return EXIT_FAILED if made.lost else EXIT_OK


def _verify(arguments: Namespace) -> int:
    with (
        tempfile.TemporaryDirectory(prefix="protosuite-verify-") as folder,
        _Bar() as bar,
        _opened(arguments.file, bar) as (reader, _),
    ):
        try:
            report = examine(reader, Path(folder) / "database")
        except OSError as error:
            raise Failed(
                f"no copy of the database in {folder}: {error.strerror}; TMPDIR says where there is room"
            ) from None
    if arguments.json:
        _print(file=arguments.file, **_found(report))
    else:
        _tell(arguments.file, report)
    return EXIT_OK if report.is_right else EXIT_FAILED


def _restore(arguments: Namespace) -> int:
    target = _place(arguments)
    with _Bar() as bar, _opened(arguments.file, bar) as (reader, length):
        report = restore(reader, target, length or 0, bar)
    if arguments.json:
        _print(file=arguments.file, data=str(target.data), **_found(report))
    else:
        _say_all([f"{NAME}: {line}" for line in _losses(report)])
        print(f"{target.data}: {_summary(report)}; the suite can start")
        assert report.heading is not None, "or it would have been refused"
        if target.media and not report.heading.media_at:
            program.say(f"{NAME}: the media are in {target.data / 'media'}: copy them to {target.media}")
        elif report.heading.media_at != target.media:
            program.say(f"{NAME}: the configuration has its media elsewhere: {target.media or LOCAL}")
    return EXIT_OK


def _place(arguments: Namespace) -> Source:
    """Where the configuration says that everything is."""
    whole = configuration.load(arguments.config, os.environ)
    config, media = whole.suite, whole.mediachat.media
    data = Path(config.data).absolute()
    url = engines.resolve(config.database, data)
    if not engines.is_file(url):
        where = f"the folder {data / 'media'}" if media == LOCAL else f"what is in {media}"
        raise Failed(
            f"the database is PostgreSQL's ({engines.shown(url)}): pg_dump backs it up, and then {where}"
            " is to be copied"
        )
    return Source(data, Path(url.database or ""), "" if media == LOCAL else media)


@contextmanager
def _opened(name: str, bar: _Bar) -> Iterator[tuple[Reader, int | None]]:
    """A backup to be read, and its length, None if that is not known."""
    if name == "-":
        yield Reader(sys.stdin.buffer.read, None, bar.stage("reading", None)), None
        return
    with open(name, "rb") as file:
        length = _length(file)
        yield Reader(file.read, length, bar.stage("reading", length)), length


def _length(file: BinaryIO) -> int | None:
    return file.seek(0, os.SEEK_END) - file.seek(0) if file.seekable() else None


class _Bar:
    """A :class:`~.progress.Progress` on a terminal. Elsewhere only what is said is seen."""

    def __init__(self) -> None:
        self._bar: tqdm[Any] | None = None
        self._said = 0

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def stage(self, what: str, total: int | None) -> Advance:
        if self._bar is not None:
            self._bar.close()
        self._bar = tqdm(
            desc=what,
            total=total,
            unit="B",
            unit_scale=True,
            unit_divisor=1024,
            leave=False,
            file=sys.stderr,
            disable=not sys.stderr.isatty(),
        )
        return self._bar.update

    def say(self, text: str) -> None:
        self._said += 1
        if self._said <= _SHOWN:
            with tqdm.external_write_mode(file=sys.stderr):
                program.say(f"{NAME}: {text}")


def _tell(file: str, report: Report) -> None:
    """What is wrong with a backup; if nothing is, what is in it."""
    lines = [*report.problems, *_losses(report)]
    _say_all([f"{NAME}: {file}: {line}" for line in lines])
    if not lines:
        print(f"{file}: {_summary(report)}; all is right")


def _say_all(lines: list[str]) -> None:
    for line in lines[:_SHOWN]:
        program.say(line)
    if more := lines[_SHOWN:]:
        program.say(f"{NAME}: and {len(more):,} more")


def _losses(report: Report) -> list[str]:
    """What was wrong with the suite already."""
    media = [
        f"{media_name(digest)} is {what}"
        for what, digests in (("missing", report.missing), ("damaged", report.damaged))
        for digest in digests
    ]
    return [f"since before it was backed up, {text}" for text in (*report.chains.broken, *media)]


def _summary(report: Report) -> str:
    assert report.heading is not None, "whoever calls this has seen that there is no problem"
    heading, chains = report.heading, report.chains
    return (
        f"of {heading.created_at}, version {heading.version}, schema {heading.schema}: "
        f"{_many(chains.rooms, 'room')} with {_many(chains.entries, 'entry', 'entries')}, "
        + (
            f"its media are not in it, but in {heading.media_at}"
            if heading.media_at
            else f"{_many(report.media, 'media file')} of {_many(report.media_bytes, 'byte')}"
        )
    )


def _many(count: int, one: str, more: str = "") -> str:
    return f"{count:,} {one if count == 1 else more or one + 's'}"


def _found(report: Report) -> dict[str, object]:
    heading, chains = report.heading, report.chains
    return {
        **({} if heading is None else heading.fields()),
        **attrs.asdict(chains),
        "media": report.media,
        "media_bytes": report.media_bytes,
        "missing": report.missing,
        "damaged": report.damaged,
        "problems": report.problems,
    }


def _print(**fields: object) -> None:
    print(json.dumps(fields), flush=True)
