"""The configuration: what is read, what is refused and how, what is printed."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

import protosuite
from protosuite import config as configuration
from protosuite.config import SECTIONS, Config, ConfigurationError, CounterConfig, NumbersConfig, SuiteConfig
from protosuite.settings import fields_of


class Fixture(SynchronousTestCase):
    def write(self, text: str) -> str:
        path = Path(self.mktemp())
        path.write_text(text, "utf-8")
        return str(path)

    def problems(self, text: str, **environment: str) -> list[str]:
        """What is wrong with a file, without its name."""
        name = self.write(text)
        with self.assertRaises(ConfigurationError) as caught:
            configuration.load(name, environment)
        return [str(problem).removeprefix(f"{name}:") for problem in caught.exception.problems]


class ReadingTests(Fixture):
    """Files and environments that are right."""

    def test_defaults(self) -> None:
        """Without a file everything has its default."""
        self.assertEqual(configuration.load(None, {}), Config())

    def test_a_file(self) -> None:
        """Values, units, lists and comments are read."""
        name = self.write(
            "[suite]\nservices = counter\n# a comment\n[numbers]\nlisten =\n    tcp:1\n    unix:/tmp/x\n"
            "window=3\n[counter]\nmax_backlog = 2 KiB  # beside it\nframe_timeout = .5\n"
        )
        self.assertEqual(
            configuration.load(name, {}),
            Config(
                SuiteConfig(services=("counter",)),
                NumbersConfig(listen=("tcp:1", "unix:/tmp/x"), window=3),
                CounterConfig(max_backlog=2048, frame_timeout=0.5),
            ),
        )

    def test_a_file_with_a_mark(self) -> None:
        """The mark that some editors begin UTF-8 with is no part of the first line."""
        name = self.write("\ufeff[numbers]\nwindow = 3\n")
        self.assertEqual(configuration.load(name, {}).numbers.window, 3)

    def test_the_environment_overrides(self) -> None:
        """A variable wins over the file, and is checked as the file is."""
        name = self.write("[numbers]\nwindow = 3\n")
        config = configuration.load(name, {"PROTOSUITE_NUMBERS_WINDOW": "4", "HOME": "/"})
        self.assertEqual(config.numbers.window, 4)
        (problem,) = self.problems("", PROTOSUITE_NUMBERS_WINDOW="x")
        self.assertIn("PROTOSUITE_NUMBERS_WINDOW: [numbers] window = 'x': must be", problem)

    def test_printed_and_read_back(self) -> None:
        """What is printed reads back as the same configuration."""
        config = Config(
            SuiteConfig(services=("counter",), data="/some where"),
            NumbersConfig(listen=("tcp:1", "tcp:2"), max_line=1000),
            CounterConfig(durability="always", max_backlog=1 << 20),
        )
        for each in (config, Config()):
            self.assertEqual(configuration.load(self.write(each.written()), {}), each)

    def test_no_password(self) -> None:
        """R29: the password in a value that is refused is not repeated."""
        (problem,) = self.problems("[suite]\ndatabase = mysql://ana:s3cr@t@db.example/x\n")
        self.assertIn("mysql://ana:***@db.example/x", problem)
        self.assertNotIn("s3cr", problem)

    def test_the_file_at_the_root_is_what_is_printed(self) -> None:
        """``suite.ini`` says every setting with its default, as the program prints it."""
        path = Path(protosuite.__file__).parent.parent / "suite.ini"
        if not path.exists():
            self.skipTest("not a checkout")
        self.assertEqual(path.read_text("utf-8"), Config().written())

    def test_every_setting_is_declared_whole(self) -> None:
        """Each setting has a sentence, and its default is written as something that is allowed."""
        for cls in SECTIONS.values():
            for name, (default, kind, doc) in fields_of(cls).items():
                self.assertEqual(kind.parse(kind.write(default).strip()), default, name)
                self.assertTrue(doc.endswith("."), name)


class RefusingTests(Fixture):
    """R38: every error is named, with its place and what would be right."""

    def test_every_problem_is_reported(self) -> None:
        """One reading names them all, each with its line."""
        text = "\n".join(
            [
                "early = 1",
                "[suite]",
                "servces = all",
                "services = numbers, bar",
                "[numbrs]",
                "[numbers]",
                "window = 0",
                "junk",
                "interval = nan",
                "interval = 2",
                "[counter]",
                "durability = sometimes",
                "listen = 8080",
                "max_backlog = 1 KB",
                "[counter]",
            ]
        )
        expected = {
            1: "before the first [section]",
            3: "did you mean services?",
            4: "must be all, or some of numbers, counter",
            5: "unknown section [numbrs]; did you mean numbers?",
            7: "[numbers] window = '0': must be a whole number from 1 to 65535",
            8: "neither [section] nor key = value",
            10: "[numbers] interval again; it is first on line 9",
            12: "must be one of always, everysec, no",
            13: "must be Twisted server endpoints",
            14: "must be a size from 1 KiB to 1 GiB",
            15: "section [counter] again; it is first on line 11",
        }
        found = {int(line): rest for line, rest in (p.split(":", 1) for p in self.problems(text))}
        self.assertEqual(found.keys(), expected.keys())
        for line, words in expected.items():
            self.assertIn(words, found[line])

    def test_a_file_that_cannot_be_read(self) -> None:
        """A missing file, and one that is not text, are named."""
        with self.assertRaises(ConfigurationError) as caught:
            configuration.load("nowhere.ini", {})
        self.assertIn("nowhere.ini: cannot read", str(caught.exception))
        path = Path(self.mktemp())
        path.write_bytes(b"\xff\xfe")
        with self.assertRaises(ConfigurationError) as caught:
            configuration.load(str(path), {})
        self.assertIn("not UTF-8", str(caught.exception))

    def test_a_variable_that_is_nearly_one_of_ours(self) -> None:
        """A slip in a variable's name is named; what container platforms set is left alone."""
        (problem,) = self.problems("", PROTOSUITE_COUNTER_DURABILTY="no")
        self.assertIn("did you mean PROTOSUITE_COUNTER_DURABILITY?", problem)
        others = {"PROTOSUITE_SERVICE_HOST": "x", "PROTOSUITE_PORT": "x", "PROTOSUITE_REQUIRE_ALL": "1"}
        self.assertEqual(configuration.load(None, others), Config())

    def test_what_a_check_finds_has_its_place(self) -> None:
        """A problem that is found later is reported where the value was written."""
        name = self.write("[numbers]\nlisten = tcp:x\n")
        with self.assertRaises(ConfigurationError) as caught:
            configuration.load(
                name, {}, lambda config: [("numbers", "listen", "no"), ("counter", "listen", "no")]
            )
        self.assertEqual([str(p) for p in caught.exception.problems], [f"{name}:2: no", "the defaults: no"])

    @given(st.text(alphabet=st.characters(codec="utf-8"), max_size=60))
    def test_any_text(self, text: str) -> None:
        """Any text is a configuration or has problems; nothing else comes of it."""
        try:
            configuration.load(self.write("[numbers]\nwindow = " + text), {})
        except ConfigurationError as error:
            self.assertTrue(error.problems)


LETTERS = "abcdefghijklmnopqrstuvwxyz_0123456789"
WRITTEN = Config().written().splitlines()
# Where each section and each setting of the whole file is: the line, from 1, and what it says.
HEADERS = {line[1:-1]: number for number, line in enumerate(WRITTEN, 1) if line.startswith("[")}
KEYS = {
    (section, key): next(
        number
        for number, line in enumerate(WRITTEN, 1)
        if number > HEADERS[section] and line.startswith(f"{key} =")
    )
    for section, cls in SECTIONS.items()
    for key in fields_of(cls)
}


@st.composite
def slips(draw: st.DrawFn, word: str, letters: str) -> str:
    """A word with one slip: a letter left out, put in, changed, or two that changed places."""
    at = draw(st.integers(0, len(word) - 1)) if word else 0
    letter = draw(st.sampled_from(letters))
    begin, one, rest = word[:at], word[at : at + 1], word[at + 1 :]
    return draw(st.sampled_from([begin + rest, begin + letter + one + rest, begin + letter + rest])) or letter


def with_line(number: int, line: str) -> str:
    """The whole file, with another line in the place of one."""
    return "\n".join([*WRITTEN[: number - 1], line, *WRITTEN[number:]])


class SlipTests(Fixture):
    """R38: the whole file, with one slip of the pen anywhere."""

    @settings(deadline=None, max_examples=40)  # a whole file each, and other work may be going on
    @given(st.data())
    def test_names(self, data: st.DataObject) -> None:
        """R38: a slip in a setting's name is reported with its line and the nearest name of its section."""
        section, key = data.draw(st.sampled_from(sorted(KEYS)))
        wrong = data.draw(slips(key, LETTERS).filter(lambda wrong: wrong != key))
        number = KEYS[section, key]
        (problem,) = self.problems(with_line(number, f"{wrong} = {WRITTEN[number - 1].partition('= ')[2]}"))
        known = fields_of(SECTIONS[section])
        if wrong in known:
            places = sorted([number, KEYS[section, wrong]])
            self.assertEqual(
                problem, f"{places[1]}: [{section}] {wrong} again; it is first on line {places[0]}"
            )
        else:
            self.assertTrue(
                problem.startswith(f"{number}: [{section}] {wrong}: unknown setting; did you mean")
            )
            self.assertIn(problem.rpartition(" ")[2].rstrip("?"), nearest_names(wrong, key, known))

    @settings(deadline=None, max_examples=40)
    @given(st.data())
    def test_sections(self, data: st.DataObject) -> None:
        """R38: a slip in a section's name is reported with its line and the nearest section."""
        section = data.draw(st.sampled_from(sorted(SECTIONS)))
        wrong = data.draw(slips(section, LETTERS).filter(lambda wrong: wrong not in SECTIONS))
        number = HEADERS[section]
        (problem,) = self.problems(with_line(number, f"[{wrong}]"))
        self.assertTrue(problem.startswith(f"{number}: unknown section [{wrong}]; did you mean "), problem)
        self.assertIn(problem.rpartition(" ")[2].rstrip("?"), nearest_names(wrong, section, SECTIONS))

    @settings(deadline=None, max_examples=40)
    @given(st.data())
    def test_values(self, data: st.DataObject) -> None:
        """R38: a slip in a value is another value, or reported with its line and what is allowed."""
        section, key = data.draw(st.sampled_from(sorted(KEYS)))
        number = KEYS[section, key]
        value = WRITTEN[number - 1].partition("=")[2].strip()
        wrong = data.draw(slips(value, LETTERS + "ABCXYZ -+.,:;=#%[]()!\"'"))
        name = self.write(with_line(number, f"{key} = {wrong}"))
        try:
            found = configuration.load(name, {})
        except ConfigurationError as error:
            (problem,) = map(str, error.problems)
            self.assertTrue(problem.startswith(f"{name}:{number}: [{section}] {key} = "), problem)
            self.assertIn(f": must be {fields_of(SECTIONS[section])[key][1].allowed}", problem)
        else:
            as_ever = evolve(getattr(found, section), **{key: getattr(getattr(Config(), section), key)})
            self.assertEqual(evolve(found, **{section: as_ever}), Config())

    @settings(deadline=None, max_examples=40)
    @given(st.data())
    def test_lines(self, data: st.DataObject) -> None:
        """R38: a line that is neither a section nor a setting is reported, and it alone."""
        number = data.draw(st.sampled_from(sorted(KEYS.values())))
        wrong = data.draw(st.text(LETTERS + "!?*-", min_size=1))
        (problem,) = self.problems(with_line(number, wrong))
        self.assertEqual(problem, f"{number}: neither [section] nor key = value")

    @settings(deadline=None, max_examples=40)
    @given(st.data())
    def test_variables(self, data: st.DataObject) -> None:
        """R38: a slip in the name of a variable of the environment is reported with the nearest name."""
        section, key = data.draw(st.sampled_from(sorted(KEYS)))
        right = f"{section}_{key}".upper()
        wrong = data.draw(slips(right, LETTERS.upper()))
        known = {f"PROTOSUITE_{each}_{name}".upper(): name for each, name in KEYS}
        variable = f"PROTOSUITE_{wrong}"
        if variable in known:
            return
        (problem,) = self.problems("", **{variable: "1"})
        self.assertTrue(problem.startswith(f"environment variable {variable}: unknown setting; did you mean"))
        near = problem.rpartition(" ")[2].rstrip("?")
        self.assertIn(near, nearest_names(variable, f"PROTOSUITE_{right}", known))


def nearest_names(wrong: str, right: str, known: Mapping[str, object]) -> set[str]:
    """What was meant, and what is at least as near."""

    def nearness(name: str) -> float:
        return difflib.SequenceMatcher(None, name, wrong).ratio()

    return {right} | {name for name in known if nearness(name) >= nearness(right)}
