"""The files of pages."""

from __future__ import annotations

import mimetypes
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from protosuite.net.pages import ASSETS, Pages


class TypeTests(SynchronousTestCase):
    """What browsers are told that a file is, which they then believe."""

    def types(self, *names: str) -> list[bytes]:
        """Those of files of these names."""
        folder = Path(self.mktemp())
        folder.mkdir()
        for name in names:
            (folder / name).touch()
        pages = Pages(folder)
        return [pages._files[name].type for name in names]

    def test_types(self) -> None:
        """A file is of the type that its name says, in letters of either size; else it is bytes."""
        self.assertEqual(
            self.types("a.css", "A.CSS", "a.js", "a.svg", "a.png", "a", "a.nonesuch"),
            [
                b"text/css; charset=utf-8",
                b"text/css; charset=utf-8",
                b"text/javascript; charset=utf-8",
                b"image/svg+xml",
                b"image/png",
                *[b"application/octet-stream"] * 2,
            ],
        )

    def test_our_own_need_nothing_of_the_machine(self) -> None:
        """A start does not read what the machine says of types: Python knows those of all our pages."""
        self.patch(mimetypes, "guess_type", self.fail)
        root = Path(__file__).parents[1]
        for folder in (ASSETS, *root.glob("*/pages")):
            Pages(folder)
