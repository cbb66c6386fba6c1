"""The documentation's build. The page of settings is made from the code: see `Settings`."""

import sys
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import protosuite
from protosuite.auth.rules import ROLES, TABLE
from protosuite.config import SECTIONS
from protosuite.config.reading import ENVIRONMENT_PREFIX
from protosuite.settings import fields_of

sys.path.insert(0, str(Path(__file__).parent))
from commandlines import CommandLine
from frames import BusFrames, CounterRequests, CounterTalk
from metrics import Metrics
from openapi import OpenApi
from promises import Promises
from states import Drawing, States

project = "protosuite"
author = "the protosuite authors"
version = release = protosuite.__version__

extensions = ["sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["drawings.css"]
html_title = f"protosuite {release}"

autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}


class Settings(SphinxDirective):
    """Every setting of every section, from the classes that the suite itself reads."""

    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes("\n".join(_settings()), allow_section_headings=True)


def _settings():
    for section, cls in SECTIONS.items():
        title = f"[{section}]"
        yield from (title, "-" * len(title), "")
        for key, (default, kind, doc) in fields_of(cls).items():
            written = kind.write(default).strip().replace("\n", " ")
            yield from (
                f".. confval:: [{section}] {key}",
                f"   :default: {f'``{written}``' if written else 'none'}",
                "",
                f"   {doc}",
                "",
                f"   Allowed: {kind.allowed.replace(':', chr(92) + ':')}.",
                f"   Environment: ``{ENVIRONMENT_PREFIX}{section.upper()}_{key.upper()}``.",
                "",
            )


class Roles(SphinxDirective):
    """Who may do what, from the table that the suite itself asks."""

    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes("\n".join(_roles()))


def _roles():
    yield from (".. list-table::", "   :header-rows: 1", "   :widths: 46 18 18 18", "")
    for first, *cells in (
        ("", *ROLES),
        *((a.value, *(r.of(role).value for role in ROLES)) for a, r in TABLE.items()),
    ):
        yield f"   * - {first}"
        yield from (f"     - {cell}" for cell in cells)


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("settings", Settings)
    app.add_directive("roles", Roles)
    app.add_directive("metrics", Metrics)
    app.add_directive("promises", Promises)
    app.add_directive("command-line", CommandLine)
    app.add_directive("counter-requests", CounterRequests)
    app.add_directive("counter-talk", CounterTalk)
    app.add_directive("bus-frames", BusFrames)
    app.add_directive("openapi", OpenApi)
    app.add_directive("states", States)
    app.add_directive("drawing", Drawing)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
