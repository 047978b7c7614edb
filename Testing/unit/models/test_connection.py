"""Downloads that something on the way stops: each cause has its own sentence."""

from __future__ import annotations

import errno
import json
import socket
import ssl
import urllib.error
from typing import TYPE_CHECKING

import pytest

from NeuroGenLib import models
from NeuroGenLib.core.errors import NeuroGenError
from NeuroGenLib.models.connection import connection_failure, disk_failure
from Testing.hub_server import HubServer
from Testing.raising import raises

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from NeuroGenLib.core.errors import Code

SERVER = "https://hub.invalid"
VARIABLES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in (*VARIABLES, "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NEUROGEN_OFFLINE", "HF_HUB_OFFLINE", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("NEUROGEN_MODELS", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with HubServer() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        yield server


def test_a_login_page_in_place_of_the_hub(hub: HubServer) -> None:
    hub.faults.page = b"<html>Please log in</html>"
    with raises("network-failed", "hf:lab/fetal", "log in to the network", kind=NeuroGenError):
        models.resolve("hf:lab/fetal")


def test_a_proxy_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", SERVER)
    monkeypatch.setenv("HTTPS_PROXY", "http://me:secret@127.0.0.1:9")
    with raises("network-failed", "HTTPS_PROXY=http://127.0.0.1:9", kind=NeuroGenError) as caught:
        models.resolve("hf:lab/fetal")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "code", "named"),
    [
        (
            ImportError("Using SOCKS proxy, but the 'socksio' package is not installed."),
            "package-missing",
            "socks5h://p:1",
        ),
        (ValueError("Unknown scheme for proxy URL"), "network-failed", "socks5h://p:1"),
        (urllib.error.URLError(OSError("Tunnel connection failed: 407")), "network-failed", "ALL_PROXY=socks5h://p:1"),
        (urllib.error.URLError(socket.gaierror(-2, "Name or service not known")), "network-failed", "ALL_PROXY"),
    ],
)
def test_errors_of_a_proxy(error: Exception, code: Code, named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5h://p:1")
    failure = connection_failure(error, "the model", SERVER)
    assert failure is not None
    assert failure.code == code
    assert named in failure.problem
    monkeypatch.setenv("NO_PROXY", "hub.invalid")
    direct = connection_failure(error, "the model", SERVER)
    assert direct is None or "ALL_PROXY" not in direct.problem


def test_errors_of_certificates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    untrusted = urllib.error.URLError(ssl.SSLCertVerificationError(1, "CERTIFICATE_VERIFY_FAILED: self-signed"))
    failure = connection_failure(untrusted, "the model", SERVER)
    assert failure is not None
    assert "self-signed" in failure.problem
    assert "SSL_CERT_FILE" in failure.remedy
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "absent.pem"))
    failure = connection_failure(FileNotFoundError(errno.ENOENT, "No such file"), "the model", SERVER)
    assert failure is not None
    assert str(tmp_path / "absent.pem") in failure.problem


def test_errors_of_the_network_and_others() -> None:
    failure = connection_failure(ConnectionResetError(errno.ECONNRESET, "reset"), "the model", SERVER, "Copy it.")
    assert failure is not None
    assert failure.code == "network-failed"
    assert failure.remedy.endswith("Without network: Copy it.")
    assert connection_failure(json.JSONDecodeError("Expecting value", "<html>", 0), "the model", SERVER) is not None
    for error in (PermissionError(errno.EACCES, "denied", "/proxy/cache"), KeyError("proxy"), ValueError("odd")):
        assert connection_failure(error, "the model", SERVER) is None


@pytest.mark.parametrize(("number", "word"), [(errno.ENOSPC, "no room"), (errno.EACCES, "cannot be written")])
def test_errors_of_the_disk(number: int, word: str, cache: Path) -> None:
    failure = disk_failure(OSError(number, "text of the system"), "the model", cache)
    assert failure.code == "file-unwritable"
    assert word in failure.problem
    assert str(cache) in failure.problem
