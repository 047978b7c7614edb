"""What stopped a download, as sentences: the proxy, a certificate, a login page, the network, or the disk."""

from __future__ import annotations

import errno
import http.client
import json
import os
import re
import ssl
import urllib.parse
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from NeuroGenLib.core.errors import NeuroGenError

if TYPE_CHECKING:
    from collections.abc import Iterator

# Which of them the hub's library uses depends on its version.
_TRANSPORT_LIBRARIES = ("httpx", "httpcore", "requests", "urllib3", "urllib.error")
_PROXY_VARIABLES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")
_CERTIFICATE_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_OF_PROXY = re.compile(r"proxy|socks|\bCONNECT\b|tunnel connection", re.IGNORECASE)
_UNREACHABLE = re.compile(r"refused|not known|resolution|getaddrinfo|unreachable|timed out|timeout", re.IGNORECASE)
_NETWORK_NUMBERS = {
    getattr(errno, name)
    for name in ("ENETUNREACH", "EHOSTUNREACH", "ENETDOWN", "ECONNREFUSED", "ECONNRESET", "ECONNABORTED", "ETIMEDOUT")
}


def connection_failure(error: Exception, what: str, server: str, without_network: str = "") -> NeuroGenError | None:
    """Explain an error of the network, None when it is none.

    Parameters
    ----------
    error:
        As the transport library raised it.
    what:
        Was asked for, such as ``"hf:lab/fetal"``.
    server:
        Address that was asked.
    without_network:
        What the person can do on a machine without network.
    """
    chain = list(_chain(error))
    reason = _reason(chain)
    cut_off = f" Without network: {without_network}" if without_network else ""
    known = _certificate(chain, what, reason) or _proxy(chain, what, server, reason, cut_off)
    if known is not None:
        return known
    if any(isinstance(cause, json.JSONDecodeError | UnicodeDecodeError) for cause in chain):
        return login_page(what)
    if not any(_is_of_network(cause) for cause in chain):
        return None
    return NeuroGenError(
        f"The connection for {what} failed: {reason}.",
        f"Check the network and try again; a download goes on where it stopped.{cut_off}",
        code="network-failed",
    )


def login_page(what: str) -> NeuroGenError:
    """Error of an answer that is a web page where data was asked for."""
    return NeuroGenError(
        f"The network answered with something else than what was asked for {what}, such as its login page.",
        "Open a web page in a browser and log in to the network, or check the proxy and the address of the server;"
        " then try again.",
        code="network-failed",
    )


def disk_failure(error: OSError, what: str, folder: Path) -> NeuroGenError:
    """Error of a download that cannot be kept: no space, or no right."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NeuroGenError(
            f"The disk has no room for {what} in {folder}.",
            "Free some space, or let the environment variable NEUROGEN_MODELS name a folder on another disk.",
            code="file-unwritable",
        )
    return NeuroGenError(
        f"{folder} cannot be written: {error.strerror or error}.",
        "Let the environment variable NEUROGEN_MODELS name a folder you may write to.",
        code="file-unwritable",
    )


def _certificate(chain: list[BaseException], what: str, reason: str) -> NeuroGenError | None:
    for name in _CERTIFICATE_VARIABLES:
        place = os.environ.get(name)
        if place and not Path(place).exists() and any(isinstance(cause, FileNotFoundError) for cause in chain):
            return NeuroGenError(
                f"The certificates for {what} are missing: {name} names {place}, which does not exist.",
                f"Correct or unset {name}.",
                code="network-failed",
            )
    unverified = any(isinstance(cause, ssl.SSLCertVerificationError) for cause in chain)
    if not unverified and "CERTIFICATE_VERIFY_FAILED" not in reason:
        return None
    return NeuroGenError(
        f"The server's certificate for {what} is not trusted: {reason}.",
        "Check the clock of this machine; when the network inspects encrypted traffic, let SSL_CERT_FILE name the file"
        " with its certificate.",
        code="network-failed",
    )


def _proxy(chain: list[BaseException], what: str, server: str, reason: str, cut_off: str) -> NeuroGenError | None:
    variables = [name for variable in _PROXY_VARIABLES for name in (variable, variable.lower()) if os.environ.get(name)]
    if not variables or urllib.request.proxy_bypass(urllib.parse.urlsplit(server).hostname or ""):
        return None
    named = ", ".join(f"{name}={_without_password(os.environ[name])}" for name in variables)
    if any(isinstance(cause, ImportError) and "socks" in str(cause).lower() for cause in chain):
        return NeuroGenError(
            f"The proxy for {what} speaks SOCKS ({named}), which needs a package that is not installed.",
            "Install it with: pip install socksio PySocks, or let HTTPS_PROXY name an HTTP proxy.",
            code="package-missing",
        )
    words = " ".join(f"{type(cause).__name__} {cause}" for cause in chain)
    is_possible = any(_is_of_network(cause) or isinstance(cause, ValueError) for cause in chain)
    if not is_possible or not (_OF_PROXY.search(words) or _UNREACHABLE.search(words)):
        return None
    return NeuroGenError(
        f"The proxy for {what} cannot be used or reached ({named}): {reason}.",
        f"Correct these environment variables, or name the server in NO_PROXY to go without.{cut_off}",
        code="network-failed",
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Return the error and what it came from; urllib keeps that in ``reason``."""
    known: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting:
        cause = waiting.pop(0)
        if isinstance(cause, BaseException) and cause not in known:
            known.append(cause)
            waiting += [getattr(cause, "reason", None), cause.__cause__, cause.__context__]
    return iter(known)


def _reason(chain: list[BaseException]) -> str:
    lines = str(getattr(chain[0], "reason", "") or chain[0]).strip().splitlines()
    return (lines[0] if lines else type(chain[0]).__name__).rstrip(".")


def _is_of_network(cause: BaseException) -> bool:
    return (
        isinstance(cause, ConnectionError | TimeoutError | ssl.SSLError | http.client.HTTPException)
        or type(cause).__module__.startswith(_TRANSPORT_LIBRARIES)
        or (isinstance(cause, OSError) and cause.errno in _NETWORK_NUMBERS)
    )


def _without_password(address: str) -> str:
    host = urllib.parse.urlsplit(address if "://" in address else f"//{address}")
    return f"{f'{host.scheme}://' if host.scheme else ''}{host.netloc.rpartition('@')[2]}"
