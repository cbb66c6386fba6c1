"""What a look at a backup finds: all that is wrong, wherever it is, and nothing else."""

from __future__ import annotations

import io
import json
import sqlite3
import tarfile
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from random import Random

from protosuite.backup.archive import DATABASE, HEADING, MANIFEST, Member, Reader, Writer, media_name
from protosuite.backup.examining import Report, examine
from protosuite.backup.manifest import Heading, Manifest, TooNew
from protosuite.storage import migrate
from protosuite.storage.schema import HEAD
from protosuite.test.backups import MEDIA, NOW, BackupCase, built
from protosuite.test.mutation import mutated

SAMPLES = 150


def members(data: bytes) -> dict[str, tarfile.TarInfo]:
    """The files of a backup by name."""
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {member.name: member for member in archive}


def flipped(data: bytes, place: int) -> bytes:
    """One bit of it is another."""
    changed = bytearray(data)
    changed[place] ^= 1 << (place % 8)
    return bytes(changed)


class WholeTests(BackupCase):
    """Nothing is wrong."""

    def test_what_is_in_it(self) -> None:
        """R9: a backup has its heading, every room, entry and hash, and every media file once."""
        report = self.examined(self.backup())
        self.assertTrue(report.is_right, report)
        assert report.heading is not None
        self.assertEqual((report.heading.schema, report.heading.created_at), (HEAD, NOW))
        chains = report.chains
        # The first entry that a swept room still has can be held against nothing.
        self.assertEqual((chains.rooms, chains.entries, chains.hashes), (2, 35, 34))
        self.assertEqual((report.media, report.media_bytes), (4, sum(map(len, MEDIA))))

    def test_nothing_in_it(self) -> None:
        """R9: a suite that nobody has used yet is backed up like any other."""
        for table in ("chatlog_log", "chatlog_filed", "chatlog_filing", "chatlog_room"):
            self.execute(f"DELETE FROM {table}")
        for table in ("mediachat_filed", "mediachat_filing"):
            self.execute(f"DELETE FROM {table}")
        for table in ("mediachat_message", "mediachat_chat"):
            self.execute(f"DELETE FROM {table}")
        report = self.examined(self.backup())
        self.assertTrue(report.is_right, report)
        self.assertEqual((report.chains.entries, report.media), (0, 0))

    def test_a_room_without_entries(self) -> None:
        """A room that was swept to its end is right, with the hash that its last entry had."""
        for table in ("chatlog_log", "chatlog_filed"):
            self.execute(f"DELETE FROM {table} WHERE room = 1")
        self.execute("UPDATE chatlog_room SET first = head + 1 WHERE id = 1")
        self.assertTrue(self.examined(self.backup()).is_right)

    def test_entries_that_are_not_filed(self) -> None:
        """Entries that came last are found in their rooms, also behind a room that is broken."""
        self.unfile()
        chains = self.examined(self.backup()).chains
        self.assertEqual((chains.entries, chains.hashes, chains.broken), (35, 34, []))
        self.execute("UPDATE chatlog_log SET content = 'forged' WHERE room = 1 AND slot = 17")
        chains = self.examined(self.backup()).chains
        self.assertEqual((len(chains.broken), chains.rooms, chains.entries), (1, 2, 1 + 30))

    def test_an_older_schema(self) -> None:
        """A backup from before there were tables that there are now is right without them."""
        for revision in ("0014", "0012", "0003", "0001"):
            migrate.downgrade(self.database, revision)
            report = self.examined(self.backup())
            self.assertTrue(report.is_right, report)
            assert report.heading is not None
            self.assertEqual(report.heading.schema, revision)

    def test_the_manifest_is_json(self) -> None:
        """The manifest lists every other file, with its size and hash."""
        data = self.backup()
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            manifest = json.loads(archive.extractfile(MANIFEST).read())  # type: ignore[union-attr]
            others = [name for name in archive.getnames() if name != MANIFEST]
            self.assertEqual([file["name"] for file in manifest["files"]], others)
            self.assertEqual(others, [HEADING, DATABASE, *map(media_name, sorted(self.media))])
            for file in manifest["files"]:
                content = archive.extractfile(file["name"]).read()  # type: ignore[union-attr]
                self.assertEqual((len(content), sha256(content).hexdigest()), (file["size"], file["sha256"]))
        self.assertEqual(manifest["backup"]["created_at"], NOW)


class HarmCase(BackupCase):
    """What the tests of harm share."""

    def assert_wrong(self, data: bytes, note: str) -> Report:
        try:
            report = self.examined(data)
        except TooNew:  # a digit of the heading's format, of its schema
            return Report()
        self.assertTrue(report.problems, note)
        return report

    def source_content(self) -> bytes:
        """The database as it is now."""
        target = self.folder / "copy"
        with closing(sqlite3.connect(self.source.database)) as connection:
            connection.execute("VACUUM INTO ?", (str(target),))
        content = target.read_bytes()
        target.unlink()
        return content


class DamageTests(HarmCase):
    """R9: whatever comes to harm after a backup was made shows."""

    def test_one_bit_in_each_region(self) -> None:
        """R9: one bit that is another, in any header, content, filling, and in the end, makes it wrong."""
        data = self.backup()
        end = 0
        for name, member in members(data).items():
            content = member.offset_data
            end = content + -(-member.size // 512) * 512
            regions = {
                "header": (
                    member.offset,
                    member.offset + 100,
                    member.offset + 130,
                    member.offset + 150,
                    content - 1,
                ),
                "content": (content, content + member.size // 2, content + member.size - 1),
                "filling": (content + member.size, end - 1),
            }
            for region, places in regions.items():
                for place in places:
                    if (content if region == "content" else member.offset) <= place < end:
                        if region == "content" and member.size == 0:
                            continue
                        self.assert_wrong(flipped(data, place), f"{region} of {name}, byte {place}")
        for place in (end, end + 600, len(data) - 1):
            self.assert_wrong(flipped(data, place), f"end, byte {place}")

    def test_one_bit_anywhere(self) -> None:
        """R9: so does one at random."""
        data = self.backup()
        chance = Random(9)
        for _ in range(SAMPLES):
            place = chance.randrange(len(data))
            self.assert_wrong(flipped(data, place), f"byte {place}")

    def test_anything(self) -> None:
        """R13: whatever was done to a backup, it is wrong then, and nothing else is raised."""
        data = self.backup()
        for seed in range(SAMPLES):
            changed = mutated(data, [data], Random(seed))
            if changed != data:
                self.assert_wrong(changed, f"seed {seed}")

    def test_a_manifest_of_another_length(self) -> None:
        """A manifest that ends early, or goes on, differs where it does."""
        heading = Heading("1", HEAD, NOW)
        begin = '{"backup": ' + heading.encode().decode().strip() + ', "files": ['
        line = '{"name": "backup.json", "size": 3, "sha256": "00"}'
        text = f"{begin}\n{line}\n]}}\n".encode()
        for pieces, difference in (
            ([text], None),
            ([text[:10], text[10:]], None),
            ([text[:-1]], "]}"),
            ([text, b" "], "]}"),
            ([text[:-20]], line),
            ([], begin),
        ):
            with Manifest(heading, self.folder) as manifest:
                manifest.file(Member(HEADING, 3), "00")
                manifest.end()
                self.assertEqual(manifest.difference(pieces), difference, pieces)

    def test_which_media(self) -> None:
        """The file that came to harm is named."""
        data = self.backup()
        name = media_name(self.media[1])
        report = self.assert_wrong(flipped(data, members(data)[name].offset_data), "media")
        self.assertIn(f"{name} is damaged", report.problems)
        self.assertEqual(report.damaged, [])

    def test_which_file(self) -> None:
        """A database that came to harm where SQLite does not see it is named."""
        data = self.backup()
        place = data.index(b"orders.*")
        report = self.assert_wrong(data[:place] + b"O" + data[place + 1 :], "database")
        (problem,) = report.problems
        self.assertIn(f'{MANIFEST} does not say {{"name": "{DATABASE}"', problem)

    def test_an_entry_that_was_changed(self) -> None:
        """A changed entry of the chat log is named, besides."""
        data = self.backup()
        place = data.index(b"entry 17 of main")
        report = self.assert_wrong(data[:place] + b"E" + data[place + 1 :], "entry")
        self.assertIn("room 'main' of the chat log: the hash of slot 18 is not", str(report.problems))

    def test_left_out(self) -> None:
        """A backup without one of its files is wrong, also with a manifest that does not know of it."""
        content = self.source_content()
        media = [(media_name(digest), self.path(digest).read_bytes()) for digest in sorted(self.media)]
        heading = Heading("1", HEAD, NOW)
        self.assertTrue(self.examined(built(heading, content, *media)).is_right)
        self.assert_wrong(built(heading, content, *media[1:]), "the first")
        self.assert_wrong(built(heading, content), "all")
        self.assert_wrong(built(heading, content, *media[::-1]), "the order")
        self.assert_wrong(built(heading, content, media[0], *media), "one twice")
        stranger = (media_name(sha256(b"x").hexdigest()), b"x")
        report = self.assert_wrong(built(heading, content, *sorted([*media, stranger])), "one more")
        self.assertEqual(report.problems, [f"no message in the database has {stranger[0]}"])

    def test_other_orders(self) -> None:
        """Each file has its place: a backup with another order, or that ends between two, is refused."""
        names = (HEADING, DATABASE, MANIFEST)
        contents = {
            HEADING: Heading("1", HEAD, NOW).encode(),
            DATABASE: self.source_content(),
            MANIFEST: b"x",
        }
        whole = members(built(Heading("1", HEAD, NOW), contents[DATABASE])).keys()
        self.assertEqual(tuple(whole), names)
        for order in (
            *([], [DATABASE], [MANIFEST], [HEADING], [HEADING, MANIFEST], [HEADING, HEADING]),
            *([HEADING, DATABASE], [HEADING, DATABASE, DATABASE], [HEADING, DATABASE, HEADING]),
        ):
            out = io.BytesIO()
            writer = Writer(out.write)
            for name in order:
                writer.add(name, len(contents[name]), 0, io.BytesIO(contents[name]).read)
            writer.end()
            report = self.assert_wrong(out.getvalue(), str(order))
            self.assertRegex(str(report.problems), "is not where it should be|it ends before its manifest")

    def test_something_behind_the_manifest(self) -> None:
        """The manifest is the last: what follows it is no part of a backup."""
        data = self.backup()
        end = members(data)[MANIFEST].offset_data + 512 * -(-members(data)[MANIFEST].size // 512)
        block = data[: 512 + 512]  # the heading once more
        report = self.assert_wrong(data[:end] + block + bytes(20480 - (end + 1024) % 10240), "a file")
        self.assertEqual(report.problems, [f"behind {MANIFEST} there is something"])

    def test_other_headings(self) -> None:
        """A heading that is not one of a backup is refused; one of a newer version is told apart."""
        content = self.source_content()
        good = {"format": 1, "version": "1", "schema": HEAD, "created_at": NOW}
        for wrong in (
            *(b"", b"{}", b"[]", b"nothing", b"[" * 4000, b"x" * 5000, b"\xff"),
            *(
                json.dumps(good | change).encode() + b"\n"
                for change in (
                    *(
                        {"format": 2},
                        {"format": 2, "media_at": ""},
                        {"format": 2, "media_at": "\n"},
                        {"media_at": "x"},
                    ),
                    *({"format": 0}, {"format": True}, {"format": None}, {"more": 1}, {"version": 1}),
                    *({"version": "1\n"}, {"created_at": "now"}, {"schema": ""}, {"schema": "../x"}),
                )
            ),
        ):
            report = self.assert_wrong(built(wrong, content), repr(wrong[:60]))
            self.assertIn("its heading ", report.problems[0])
        report = self.assert_wrong(built(b" " * 5000, content), "long")
        self.assertEqual(report.problems, ["its heading has 5000 bytes"])
        newer = json.dumps(good | {"format": 3, "more": 1}).encode()
        with self.assertRaises(TooNew) as caught:
            self.examined(built(newer, content))
        self.assertIn("has format 3", str(caught.exception))
        with self.assertRaises(TooNew) as caught:
            self.examined(built(Heading("9.9", "x9", NOW), content))
        self.assertIn(
            "schema x9, which this version does not know: use protosuite 9.9", str(caught.exception)
        )

    def test_media_that_should_not_be_there(self) -> None:
        """A backup that says that its media are elsewhere has none."""
        heading = Heading("1", HEAD, NOW, "s3://bucket")
        self.assertTrue(self.examined(built(heading, self.source_content())).is_right)
        stranger = (media_name(sha256(b"x").hexdigest()), b"x")
        report = self.assert_wrong(built(heading, self.source_content(), stranger), "media")
        self.assertIn("no message in the database has", report.problems[0])

    def test_nothing_is_written_for_what_is_newer(self) -> None:
        """A backup of a newer version is refused before its database is."""
        folder = Path(self.mktemp())
        folder.mkdir()
        data = built(Heading("9.9", "x9", NOW), self.source_content())
        with self.assertRaises(TooNew):
            examine(Reader(io.BytesIO(data).read), folder / "database")
        self.assertEqual(list(folder.iterdir()), [])


class HostileDatabaseTests(HarmCase):
    """A database of somebody else's making, in a backup that is consistent in itself."""

    def wrong(self, *statements: str) -> Report:
        """What is found when the database has been changed so."""
        for statement in statements:
            self.execute(statement)
        media = [(media_name(digest), self.path(digest).read_bytes()) for digest in sorted(self.media)]
        report = self.examined(built(Heading("1", HEAD, NOW), self.source_content(), *media))
        self.assertFalse(report.is_right, statements)
        return report

    def test_what_runs(self) -> None:
        """R25: a database that brings triggers or views of its own is refused."""
        trigger = "CREATE TRIGGER evil AFTER INSERT ON counter BEGIN DELETE FROM chatlog_log; END"
        self.assertIn("'evil'", self.wrong(trigger).problems[0])
        self.assertIn("'view'", self.wrong("DROP TRIGGER evil", "CREATE VIEW view AS SELECT 1").problems[0])

    def test_values_of_other_types(self) -> None:
        """Values that their columns do not allow are told, not stumbled over."""
        for change in (
            "content = x'ff'",
            "content = CAST(x'ff' AS TEXT)",
            "author = 7",
            "slot = 'x'",
            "hash = ''",
            "at = 1.5",
        ):
            self.wrong(f"UPDATE chatlog_log SET {change} WHERE room = 2 AND slot = 3")
            self.setUp()
        for change in ("head = 'x'", "first = 'x'", "first = 0", "epoch = x'00'", "hash = 'x'", "head = 31"):
            self.wrong(f"UPDATE chatlog_room SET {change} WHERE id = 2")
            self.setUp()

    def test_entries_of_no_room(self) -> None:
        """An entry that came last and says something else for its room is told."""
        self.unfile()
        report = self.wrong("UPDATE chatlog_log SET room = 'x' WHERE room = 2 AND slot = 30")
        self.assertIn("something else for a room", report.chains.broken[0])

    def test_entries_that_are_not_there(self) -> None:
        """A hole in a log, its end or its beginning cut off are told with the room."""
        for slots in ("slot = 7", "slot > 20", "slot < 3"):
            tables = "chatlog_log", "chatlog_filed"
            report = self.wrong(*(f"DELETE FROM {table} WHERE room = 2 AND {slots}" for table in tables))
            self.assertIn("room 'main' of the chat log", report.chains.broken[0])
            self.setUp()
        report = self.wrong("UPDATE chatlog_log SET slot = slot + 1 WHERE room = 2 AND slot = 30")
        self.assertIn("slot 31 comes after slot 29", report.chains.broken[0])
        self.setUp()
        report = self.wrong("DROP TABLE chatlog_log", "UPDATE chatlog_room SET head = 0, hash = epoch")
        self.assertIn("no such table: chatlog_log", report.problems[0])

    def test_entries_that_are_not_filed(self) -> None:
        """Entries that nobody would find in their rooms are told."""
        for change in (
            "DELETE FROM chatlog_filed WHERE room = 2 AND slot = 7",
            "UPDATE chatlog_filed SET room = 9 WHERE room = 2 AND slot = 7",
            "UPDATE chatlog_filed SET slot = 99 WHERE room = 2 AND slot = 7",
            "UPDATE chatlog_filed SET id = id + 1 WHERE room = 2 AND slot = 7",
            "UPDATE chatlog_log SET room = 1 WHERE room = 2 AND slot = 7",
            "UPDATE chatlog_filing SET upto = upto + 1",
            "UPDATE chatlog_filing SET upto = upto - 1",
            "DELETE FROM chatlog_filing",
            "DELETE FROM chatlog_log WHERE room = 2 AND slot = 7",
            "DROP TABLE chatlog_filing",
        ):
            self.assertIn(
                "filed" if "DROP" not in change else "filing", self.wrong(change).problems[0], change
            )
            self.setUp()

    def test_messages_that_are_not_filed(self) -> None:
        """Messages that nobody would find in their chats are told."""
        for change in (
            "DELETE FROM mediachat_filed WHERE id = 1",
            "UPDATE mediachat_filed SET chat_id = 9 WHERE id = 2",
            "UPDATE mediachat_filed SET id = 99 WHERE id = 2",
            "UPDATE mediachat_filed SET id = 3 WHERE id = 2",
            "UPDATE mediachat_filing SET upto = 3",
            "DELETE FROM mediachat_filing",
            "INSERT INTO mediachat_filing VALUES (5)",
            "DELETE FROM mediachat_filed",
            "DROP TABLE mediachat_filing",
        ):
            self.assertIn("filed" if "DROP" not in change else "filing", self.wrong(change).problems[0])
            self.setUp()

    def test_hashes_that_lead_elsewhere(self) -> None:
        """R25: what a row says of its file is never a path."""
        for value in ("'../../etc/passwd'", "x'00'", "'" + "A" * 64 + "'", "7"):
            report = self.wrong(f"UPDATE mediachat_message SET sha256 = {value} WHERE id = 3")
            self.assertIn("has something else for a SHA-256", str(report.problems))
            self.setUp()

    def test_references_to_nothing(self) -> None:
        """A message of a chat that there is not makes the database unsound."""
        report = self.wrong("UPDATE mediachat_message SET chat_id = 99 WHERE id = 1")
        self.assertIn("a row of mediachat_message refers to one of mediachat_chat", report.problems[0])

    def test_another_schema_than_it_says(self) -> None:
        """A heading that names another schema than the database has is wrong."""
        report = self.wrong("UPDATE alembic_version SET version_num = '0001'")
        self.assertIn("its schema is '0001'", report.problems[0])

    def test_no_database(self) -> None:
        """Anything may stand in a database's place."""
        for content in (b"", b"x" * 5000, b"SQLite format 3\0" + b"\xff" * 8000):
            report = self.examined(built(Heading("1", HEAD, NOW), content))
            self.assertTrue(report.problems)


class LostBeforeTests(BackupCase):
    """What the suite had lost already is in no backup, and that is said, and told apart from later harm."""

    def test_missing(self) -> None:
        """A media file that is gone is told when the backup is made, and when it is looked at."""
        self.path(self.media[0]).unlink()
        data, packed = self.packed()
        self.assertEqual(packed.lost, [media_name(self.media[0])])
        report = self.examined(data)
        self.assertEqual((report.missing, report.problems), ([self.media[0]], []))
        self.assertFalse(report.is_right)

    def test_all_missing(self) -> None:
        """So are all of them."""
        for digest in self.media:
            self.path(digest).unlink()
        report = self.examined(self.backup())
        self.assertEqual((report.missing, report.media, report.problems), (sorted(self.media), 0, []))

    def test_damaged(self) -> None:
        """One that is not what its name says is backed up as it is; harm to it later is another thing."""
        self.path(self.media[0]).write_bytes(b"other")
        data, packed = self.packed()
        self.assertEqual(packed.lost, [media_name(self.media[0])])
        report = self.examined(data)
        self.assertEqual((report.damaged, report.problems), ([self.media[0]], []))
        later = flipped(data, data.index(b"other"))
        report = self.examined(later)
        self.assertEqual(report.damaged, [])
        self.assertIn(f"{media_name(self.media[0])} is damaged", report.problems)

    def test_a_broken_room(self) -> None:
        """A log that was broken when it was backed up is told as that."""
        self.execute("UPDATE chatlog_log SET content = 'forged' WHERE room = 2 AND slot = 3")
        report = self.examined(self.backup())
        self.assertEqual(report.problems, [])
        (broken,) = report.chains.broken
        self.assertIn("room 'main' of the chat log: the hash of slot 3", broken)
        self.assertEqual((report.chains.rooms, report.chains.entries), (2, 7))
