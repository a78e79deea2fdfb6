"""The explorer as a page of a server on this machine alone."""

import socket
import webbrowser
from collections.abc import Callable
from importlib import import_module
from threading import Thread
from typing import Any

from unitlens.errors import ArgumentError
from unitlens.explorer.explore import explore
from unitlens.extras import naming_extras
from unitlens.tables.results import Results

HOST = "127.0.0.1"  # no other machine reaches the page


@naming_extras()
def serve_explorer(
    results: Results, *, port: int = 0, opens: bool = True, tell: Callable[[str], None] = print
) -> None:
    """Serve the explorer until Ctrl-C.

    Parameters
    ----------
    results
        The results.
    port
        Port of the server; 0 takes one that is free.
    opens
        Whether the page is opened in the browser.
    tell
        Function that tells the address of the page.

    Raises
    ------
    ArgumentError
        Where the port is taken, or is no port.
    """
    import panel as pn

    explore(results)  # what is wrong with the results is told here, not in the browser
    chosen = _free_port(port)
    address = f"http://{HOST}:{chosen}/"
    server: Any = pn.serve(
        lambda: explore(results),
        port=chosen,
        address=HOST,
        websocket_origin=[f"{HOST}:{chosen}", f"localhost:{chosen}"],
        title="unitlens",
        show=False,
        start=False,
        verbose=False,
    )
    server.start()
    # The first page of a unit needs torch, which takes seconds to import: meanwhile the overview
    # is there to look at.
    Thread(target=import_module, args=("unitlens.stored_network",), daemon=True).start()
    tell(f"{address} shows {results.directory} on this machine alone; Ctrl-C ends it")
    if opens:
        server.io_loop.call_later(0.2, webbrowser.open, address)
    server.io_loop.start()
    server.stop()


def _free_port(port: int) -> int:
    if not 0 <= port < 2**16:
        raise ArgumentError(
            f"port = {port}: a port is a number from 0 to 65535; 0 takes a free one"
        )
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((HOST, port))
        except OSError as error:
            raise ArgumentError(
                f"port = {port} cannot be used on {HOST} ({error.strerror}); choose another, or 0 "
                "for a free one"
            ) from error
        return int(trial.getsockname()[1])
