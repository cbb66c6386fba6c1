"""The quota of a chat, while everybody sends at once; and files that come back byte for byte."""

from __future__ import annotations

import random
from hashlib import sha256

from twisted.trial.unittest import TestCase

from tests.mediachat_peers import ask, come, files, rows, settings
from tests.processes import LIMIT, Suite, together

QUOTA = 300_000
CLIENTS, DESKS, EACH = 6, 6, 12


class QuotaTests(TestCase):
    """A suite with one small chat."""

    timeout = 2 * LIMIT

    async def setUp(self) -> None:  # type: ignore[override]
        self.seed = random.randrange(2**32)
        self.chance = random.Random(self.seed)
        self.suite = Suite(self, **settings(quota_per_chat=QUOTA))
        await self.suite.start()
        self.owner = await come(self, self.suite)  # the chat is there
        self.saved: list[int] = []
        self.refused: list[int] = []

    def draw(self) -> bytes:
        """A file. Those of all senders come to twice the quota."""
        most = 4 * QUOTA // ((CLIENTS + DESKS) * EACH)
        return self.chance.randbytes(self.chance.randrange(most))

    def note(self, size: int, is_saved: bool) -> None:
        (self.saved if is_saved else self.refused).append(size)

    async def client(self) -> None:
        """A connection of the client, which sends file after file, some of them by name."""
        client = await come(self, self.suite)
        for number in range(EACH):
            data = self.draw()
            name = {"upload": f"{id(client)}-{number}"} if number % 3 == 0 else {}
            client.begin(len(data), **name)
            if name:
                status = await client.next()
                if status["status"] == "error":
                    self.assertEqual(status["code"], "quota")
                    self.note(len(data), False)
                    continue
                self.assertEqual(status["status"], "ready")
            assert client.socket is not None
            if data:
                client.socket.send_binary(data)
            status = await client.next()
            self.assertIn(status.get("code"), (None, "quota"))
            self.note(len(data), status["status"] == "saved")

    async def desk(self) -> None:
        """Somebody at the desk, who posts file after file."""
        for _ in range(EACH):
            data = self.draw()
            self.note(len(data), await self.post(data))

    async def post(self, data: bytes) -> bool:
        """Post a file; whether there was room."""
        path = "/chats/1/media?name=a&kind=file"
        status, _, answer = await ask(self, self.suite, "POST", path, data)
        self.assertIn(status, (201, 202, 507), answer)
        return status != 507

    async def test_in_parallel(self) -> None:
        """R27: whoever sends at once, the quota is never exceeded, and nothing is refused that fits."""
        await together([self.client() for _ in range(CLIENTS)] + [self.desk() for _ in range(DESKS)])
        note, total = f"seed {self.seed}", sum(self.saved)
        self.assertEqual(len(self.saved) + len(self.refused), (CLIENTS + DESKS) * EACH)
        self.assertLessEqual(total, QUOTA, note)
        self.assertTrue(self.refused, note)
        # What there was room for at the end there had been room for before.
        self.assertGreater(total + min(self.refused), QUOTA, note)
        stored = [row.size or 0 for row in rows(self.suite) if row.status == "saved"]
        self.assertEqual(sorted(stored), sorted(self.saved), note)

        self.assertTrue(await self.post(bytes(QUOTA - total)), note)
        self.assertFalse(await self.post(b"x"), note)
        self.owner.begin(1)
        assert self.owner.socket is not None
        self.owner.socket.send_binary(b"x")
        self.assertEqual((await self.owner.next())["code"], "quota", note)

    async def test_random_ranges(self) -> None:
        """R28: what is stored is what was sent, by its hash, and so is each part of it that is asked for."""
        data = self.chance.randbytes(200_000)
        self.owner.begin(len(data))
        assert self.owner.socket is not None
        for at in range(0, len(data), 7000):
            self.owner.socket.send_binary(data[at : at + 7000])
        message = (await self.owner.next())["message"]
        [(digest, path)] = files(self.suite).items()
        self.assertEqual((digest, path.read_bytes()), (sha256(data).hexdigest(), data))
        for _ in range(100):
            first, last = sorted(self.chance.randrange(len(data)) for _ in range(2))
            asked = self.chance.choice((f"{first}-{last}", f"{first}-", f"-{last + 1}"))
            _, _, found = await ask(
                self, self.suite, "GET", f"/media/{message}", None, f"Range: bytes={asked}"
            )
            expected = {
                f"{first}-{last}": data[first : last + 1],
                f"{first}-": data[first:],
                f"-{last + 1}": data[-last - 1 :],
            }[asked]
            self.assertEqual(found, expected, f"seed {self.seed}, {asked}")
