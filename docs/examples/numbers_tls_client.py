"""Receive a stream over TLS from a server whose certificate is in cert.pem."""

from pathlib import Path

from twisted.internet import ssl, task

from protosuite.numbers import NumbersClientFactory


async def main(reactor):
    authority = ssl.Certificate.loadPEM(Path("cert.pem").read_bytes())
    options = ssl.optionsForClientTLS("localhost", trustRoot=authority)
    factory = NumbersClientFactory("example-tls", reactor, max=10, on_status=print)
    reactor.connectSSL("localhost", 5501, factory, options)
    result = await factory.result
    print(f"{result.count} numbers, sum {result.sum}")


task.react(main)
