"""R23: tokens that are expired, forged, cut or made up, and the file of keys."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import os
import stat
import string
from pathlib import Path
from typing import Any

import jwt
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from protosuite.auth import tokens
from protosuite.auth.rules import ROLES
from protosuite.auth.tokens import LEEWAY, MAX_TOKEN, Expired, Identity, Keys, NotValid
from protosuite.errors import StartError, Unauthenticated

OLD, NEW = b"o" * 32, b"n" * 32
KEYS = Keys({"new": NEW, "old": OLD})
ANA = Identity("t-1", "client", "ana", 1000, "new")
_LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
_NOT_VALID = ("unauthenticated", "the token is not valid")
CLAIMS = {"jti": "t-1", "role": "client", "sub": "ana", "exp": 1000}


def signed(
    claims: Any, header: dict[str, Any] | None = None, secret: bytes = NEW, digest: Any = hashlib.sha256
) -> str:
    """A token with any claims and header, with a signature that is right, made without the library."""
    head = {"alg": "HS256", "kid": "new"} if header is None else header
    text = ".".join(_encoded(json.dumps(part).encode()) for part in (head, claims))
    return f"{text}.{_encoded(hmac.digest(secret, text.encode(), digest))}"


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


class TokenTests(SynchronousTestCase):
    """What a token has to be."""

    def refused(self, token: str, now: float = 0.0) -> None:
        with self.assertRaises(Unauthenticated) as caught:
            KEYS.verify(token, now)
        self.assertIsInstance(caught.exception, NotValid, token)
        self.assertEqual((caught.exception.code, caught.exception.message), _NOT_VALID)

    def test_round_trip(self) -> None:
        """What is signed verifies as what it was, with the key that signed it."""
        for role in ROLES:
            for subject in ("ana", "42", "Zoë Müller", "\U0001f600" * 64):
                identity = evolve(ANA, role=role, subject=subject)
                self.assertEqual(KEYS.verify(KEYS.sign(identity, 0), 0), identity)

    def test_one_of_another_make(self) -> None:
        """A token that another library signed with the key is as good; other claims do not matter."""
        token = signed(CLAIMS | {"name": "Ana", "iat": 5_000_000_000})
        self.assertEqual(KEYS.verify(token, 0), ANA)

    def test_expired(self) -> None:
        """R23: from its expiry on, and what clocks may differ, it is refused as expired."""
        token = KEYS.sign(ANA, 0)
        KEYS.verify(token, 1000 + LEEWAY - 0.001)
        with self.assertRaises(Expired) as caught:
            KEYS.verify(token, 1000 + LEEWAY)
        self.assertEqual(caught.exception.message, "the token has expired")

    def test_a_forged_one_does_not_learn_that_it_expired(self) -> None:
        """R23: only a right signature is told that the time is over."""
        self.refused(signed(CLAIMS, secret=b"x" * 32), now=5000)

    def test_forged(self) -> None:
        """R23: any change of any character, another secret, or another's signature, is refused."""
        token = KEYS.sign(ANA, 0)
        for at, character in enumerate(token):
            other = "A" if character != "A" else "B"
            self.refused(token[:at] + other + token[at + 1 :])
        self.refused(signed(CLAIMS, secret=OLD))
        head, _, signature = token.split(".")
        self.refused(f"{head}.{_encoded(json.dumps(CLAIMS | {'role': 'service'}).encode())}.{signature}")

    def test_without_a_signature(self) -> None:
        """R23: ``alg`` none, in any spelling, with or without a signature, is refused."""
        for name in ("none", "None", "NONE", "nOnE", ""):
            token = signed(CLAIMS, {"alg": name, "kid": "new"})
            self.refused(token)
            self.refused(token.rpartition(".")[0] + ".")
        self.refused(jwt.encode(CLAIMS, "", algorithm="none", headers={"kid": "new"}))

    def test_another_algorithm(self) -> None:
        """R23: a right signature by another algorithm, or by one that is only said to be, is refused."""
        for name, digest in (("HS384", hashlib.sha384), ("HS512", hashlib.sha512)):
            self.refused(signed(CLAIMS, {"alg": name, "kid": "new"}, digest=digest))
        others: list[Any] = ["HS384", "RS256", "ES256", "EdDSA", "hs256", 256, None, ["HS256"], {"HS256": 1}]
        for other in others:
            self.refused(signed(CLAIMS, {"alg": other, "kid": "new"}))
        self.refused(signed(CLAIMS, {"kid": "new"}))

    def test_a_key_that_is_none(self) -> None:
        """R23: a token names its key: an unknown one, none, or something that is no name, is refused."""
        kids: list[Any] = ["other", "", "new ", None, 1, ["new"], {}, "../../etc/passwd", "new\x00"]
        for kid in kids:
            self.refused(signed(CLAIMS, {"alg": "HS256", "kid": kid}))
        self.refused(signed(CLAIMS, {"alg": "HS256"}))

    def test_cut(self) -> None:
        """R23: no part of a token is a token, nor is one with something before, between or behind."""
        token = KEYS.sign(ANA, 0)
        for length in range(len(token)):
            self.refused(token[:length])
            self.refused(token[length + 1 :])
        for other in (f" {token}", f"{token}\n", f"{token}=", f"{token}.", f"Bearer {token}", token + token):
            self.refused(other)

    def test_huge(self) -> None:
        """R23: one that is too long is refused, also if its signature is right."""
        self.refused(signed(CLAIMS | {"x": "y" * MAX_TOKEN}))
        self.refused("a" * (64 << 20))
        self.refused(signed(CLAIMS, {"alg": "HS256", "kid": "new", "x": "y" * MAX_TOKEN}))

    def test_nested_without_end(self) -> None:
        """R23: JSON that is all brackets is refused like any other."""
        deep = _encoded(b"[" * 1400)
        self.refused(f"{deep}.e30.AAAA")
        head = _encoded(b'{"alg":"HS256","kid":"new"}')
        body = f"{head}.{deep}"
        self.refused(f"{body}.{_encoded(hmac.digest(NEW, body.encode(), hashlib.sha256))}")

    def test_missing_claims(self) -> None:
        """R23: a signed token without one of its claims is refused."""
        for claim in CLAIMS:
            self.refused(signed({name: value for name, value in CLAIMS.items() if name != claim}))
        wholes: list[Any] = [{}, [], "x", 1, None]
        for whole in wholes:
            self.refused(signed(whole))

    def test_claims_of_another_sort(self) -> None:
        """R23: a signed token whose claims are not what they should be is refused, not misread."""
        wrong: dict[str, list[Any]] = {
            "jti": ["", "x" * 65, "a b", "a\n", 1, None, [], {}],
            "role": ["", "root", "Client", "client ", None, 1, ["client"], {}],
            "sub": ["", "x" * 65, "a\nb", "\x00", 1, None, [], {}, "\ud800"],
            "exp": [None, "1000", 1e3, True, -1, 10**30, [], {}],
        }
        for claim, values in wrong.items():
            for value in values:
                self.refused(signed(CLAIMS | {claim: value}))

    def test_rotation(self) -> None:
        """The first key signs and all verify; a token of one that was removed is refused."""
        before = Keys({"old": OLD}).sign(ANA, 0)
        self.assertEqual(KEYS.verify(before, 0), evolve(ANA, key="old"))
        self.assertEqual(KEYS.verify(KEYS.sign(ANA, 0), 0).key, "new")
        with self.assertRaises(NotValid):
            Keys({"new": NEW}).verify(before, 0)

    @settings(deadline=None)
    @given(st.text(max_size=300) | st.text(string.ascii_letters + string.digits + "-_.=", max_size=300))
    def test_any_text(self, text: str) -> None:
        """R13: any text is refused as not valid; nothing else comes of it."""
        self.refused(text)

    @settings(deadline=None, max_examples=50)
    @given(
        st.recursive(_LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)),
        st.booleans(),
    )
    def test_any_json(self, part: Any, is_header: bool) -> None:
        """R13: any JSON as the header, or as the claims with a right signature, is refused as not valid."""
        self.refused(
            signed(CLAIMS, part if isinstance(part, dict) else {"x": part}) if is_header else signed(part)
        )


class KeyFileTests(SynchronousTestCase):
    """The file of keys."""

    def write(self, text: str | bytes, mode: int = 0o600) -> Path:
        path = Path(self.mktemp())
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        path.chmod(mode)
        return path

    def refused(self, path: Path, *words: str) -> str:
        with self.assertRaises(StartError) as caught:
            tokens.load(path)
        text = str(caught.exception)
        self.assertIn(str(path), text)
        self.assertNotIn("\n", text)
        for word in words:
            self.assertIn(word, text)
        return text

    def test_written_and_read(self) -> None:
        """What is written is read as the same keys, in order; comments and space do not matter."""
        text = f"# ours\n\n{tokens.key_line('b', NEW)}  a\t{_encoded(OLD)}=  # until May\n"
        self.assertEqual(list(tokens.parse(text, Path("x")).items()), [("b", NEW), ("a", OLD)])
        self.assertEqual(
            tokens.load(self.write(text)).verify(signed(CLAIMS, {"alg": "HS256", "kid": "b"}), 0).key, "b"
        )

    def test_others_may_read_it(self) -> None:
        """A file that others than its owner may touch is refused, with the command that mends it."""
        for mode in (0o604, 0o620, 0o602, 0o610, 0o601, 0o666):
            path = self.write(tokens.key_line("a", NEW), mode)
            self.refused(path, f"chmod 600 {path}")
            os.chmod(path, 0o400)
            tokens.load(path)

    def test_whose_file_it_is(self) -> None:
        """The group of a file may read it if it is root's, and nothing else."""
        for owner, mode, is_open in (
            (0, 0o440, False),
            (0, 0o640, False),
            (0, 0o660, True),
            (0, 0o644, True),
            (1000, 0o600, False),
            (1000, 0o640, True),
        ):
            self.assertEqual(
                tokens.is_open_to_others(stat.S_IFREG | mode, owner), is_open, (owner, oct(mode))
            )

    def test_not_there(self) -> None:
        """A file that cannot be read is named, with what to do."""
        self.refused(Path(self.mktemp()), "No such file", "protosuite-token init")
        folder = Path(self.mktemp())
        folder.mkdir(mode=0o700)
        self.refused(folder, "protosuite-token init")

    def test_not_keys(self) -> None:
        """What is no file of keys is refused with the line, and no error shows any of a secret."""
        good = tokens.key_line("a", NEW)
        for line in (
            "a",
            "a b c",
            "a " + _encoded(NEW[:31]),
            "a " + _encoded(NEW) + "!",
            "a/b " + _encoded(NEW),
            "a A",
        ):
            text = self.refused(self.write(good.replace("a", "z", 1) + line + "\n"), ":2:")
            self.assertNotIn(_encoded(NEW)[:8], text)
        self.refused(self.write(good + good), ":2:", "second key")
        self.refused(self.write("# none\n"), "holds no key")
        self.refused(self.write(b"\xff\xfe"), "not a file of keys")

    @given(st.text(alphabet=st.characters(codec="ascii"), max_size=200))
    def test_any_text(self, text: str) -> None:
        """Any text is keys or an error of the start; nothing else comes of it."""
        with contextlib.suppress(StartError):
            tokens.parse(text, Path("keys"))
