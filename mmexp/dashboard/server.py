"""Trackio's own server, on one address of this machine, until it is told to end."""

from __future__ import annotations

import io
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any
from urllib.parse import urlencode

from mmexp.dashboard.appearance import ENVIRONMENT
from mmexp.dashboard.project import NAME
from mmexp.schema import ConfigError
from mmexp.trackio_view import offline


@contextmanager
def serve(project: str, host: str, port: int | None) -> Iterator[dict[str, str]]:
    """Serve Trackio's dashboard for the length of the block, which gets its links by what they show.

    `port=None` takes the first that is free from 7860 on. Variables of the environment win over our order and colours,
    but nothing is shared beyond `host`, whatever they say. Raises `ConfigError` where there is no such address, or
    another process has the port.
    """
    with offline():
        for variable, value in ENVIRONMENT.items():
            os.environ.setdefault(variable, value)
        server, url = _start(project, host, port)
        try:
            yield _links(url, project, server.write_token)
        finally:
            server.close()


def _start(project: str, host: str, port: int | None) -> tuple[Any, str]:
    import trackio

    try:
        _try_address(host, port or 0)
        with redirect_stdout(io.StringIO()):  # a link that smooths the curves
            server, url, *_ = trackio.show(
                project,
                host=f"[{host}]" if ":" in host else host,
                server_port=port,
                share=False,
                mcp_server=False,
                open_browser=False,
                block_thread=False,
            )
    except OSError as error:
        asked = f"--host {host}" if port is None else f"--host {host} --port {port}"
        raise ConfigError(
            f"{asked}: the dashboard cannot be served there ({error.strerror or error}). Choose another port with "
            "--port, or leave it out to have the first that is free."
        ) from error
    return server, url


def _try_address(host: str, port: int) -> None:
    """Trackio has the same words for a port that is taken and an address that this machine has not."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))


def _links(url: str, project: str, write_token: str) -> dict[str, str]:
    """All runs, and their comparison. Who has the first may rename and delete runs, too."""
    from trackio.utils import canonical_project_name

    shown = {"project": canonical_project_name(project)}
    return {
        "runs": f"{url}?{urlencode({**shown, 'smoothing': 0, 'write_token': write_token})}",
        "comparison": f"{url}media?{urlencode({**shown, 'run_ids': NAME})}",
    }
