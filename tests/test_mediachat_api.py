"""The media chat's description against what its server does."""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from tests.mediachat_peers import come, say, settings
from tests.processes import BIN, LIMIT, Program, Suite
from tests.requirements import missing

SEED, EXAMPLES = "20260", "40"


class DescriptionTests(TestCase):
    """R13: ``openapi.json`` is true."""

    timeout = 3 * LIMIT

    async def test_schemathesis(self) -> None:
        """Requests made from the description, good and bad, get answers that it names."""
        if not (BIN / "schemathesis").exists():
            missing("schemathesis is not installed: pip install 'protosuite[test]'")
        suite = Suite(self, **settings())
        await suite.start()
        client = await come(self, suite)
        client.begin(5)
        client.socket.send_binary(b"hello")  # type: ignore[union-attr]
        await client.next()
        await say(self, suite, "hi")
        run = Program(
            self,
            BIN / "schemathesis",
            "run",
            f"http://127.0.0.1:{suite.ports['mediachat']}/openapi.json",
            "--seed",
            SEED,
            "--max-examples",
            EXAMPLES,
            "--phases",
            "examples,coverage,fuzzing,stateful",
            "--no-color",
            folder=suite.folder,
        )
        self.assertEqual(await run.exit(), 0, "\n".join(run.output))
        self.assertTrue(any("Tested: 10" in line for line in run.output), "\n".join(run.output))
        self.assertEqual(suite.defects, [])
        self.assertEqual(await suite.terminate(), 0)
