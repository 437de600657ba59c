"""Pages drawn once for nobody: the first one before the server answers, and later those whose tests take long.

A first run of the script took 0.9 to 1.1 s of processor time on the reference study, a second one 0.3 s: the difference
are scripts that are compiled, the database that is opened, the first answers, and what packages do at their first use.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import streamlit as st
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.runtime import Runtime, get_instance
from streamlit.runtime.session_manager import ClientContext, SessionClient

from app.database import snapshots

PATIENCE = 1.5  # seconds that the server may answer later
LATER = 3.0  # seconds from the page to the curves of its study, which a first slice needs, and to the other pages
# With default filters: the 50 tests that each has of 25,000 prompts take half a second.
OTHERS = ("models", "review")
LONGEST = 60.0  # seconds after which a page that is still not drawn is left
LOG = logging.getLogger(__name__)


def send_at_once() -> None:
    """Let the server's connections send what is written to them at once (TCP_NODELAY), before its first one.

    asyncio sets it for sockets that say they are TCP, and Streamlit's listening socket does not: each of the page's 170
    small scripts was held back for 40 ms, until the browser acknowledged the headers before it, and so were short messages of
    a page. A connection inherits the option from the socket that listens.
    """
    for each in gc.get_objects():
        if isinstance(each, socket.socket) and each.family in (socket.AF_INET, socket.AF_INET6):
            with suppress(OSError):
                if each.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class Nobody(SessionClient):
    """The other end of a session without a browser: it reads nothing, and knows when the page is complete."""

    def __init__(self) -> None:
        self.complete = asyncio.Event()

    def write_forward_msg(self, msg: ForwardMsg) -> None:
        """Take a message of the page."""
        if msg.WhichOneof("type") == "script_finished":
            self.complete.set()

    @property
    def client_context(self) -> ClientContext | None:
        """No headers, no cookies, and so no login."""
        return None


@asynccontextmanager
async def first_page(_: st.App) -> AsyncIterator[None]:
    """The server's life: it starts with a page for nobody, and answers once that is drawn, or after PATIENCE."""
    drawing = asyncio.create_task(draw(get_instance()))
    following = asyncio.create_task(others(drawing))
    await asyncio.wait({drawing}, timeout=PATIENCE)
    yield
    for task in (drawing, following):
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    _close()


def _close() -> None:
    """Close the databases, and let Python collect what was left out: DuckDB names at exit, in 60 lines, whatever is still there."""
    st.cache_resource.clear()
    gc.unfreeze()
    gc.collect()


async def others(drawing: asyncio.Task[None]) -> None:
    """Read the curves of the first page's study once the first reader has had the time to open it, and draw the other pages."""
    await asyncio.wait({drawing})
    await asyncio.sleep(LATER)
    await asyncio.to_thread(snapshots.read_ahead)
    for view in OTHERS:
        await draw(get_instance(), view)


async def draw(runtime: Runtime, view: str = "") -> None:
    """Draw a page in a session of its own, which ends with it; whatever fails is left to its first reader to see.

    The session has no login: where one is required, the page is the one that asks for it. What a study's data
    give is in the caches under the snapshot and the filters, as if a reader had asked.

    Args:
        runtime: of the server.
        view: the page's name in its address; "" = the first one.
    """
    client, session = Nobody(), ""
    try:
        session = runtime.connect_session(client, {})
        message = BackMsg()
        message.rerun_script.query_string = ""
        message.rerun_script.page_name = view
        runtime.handle_backmsg(session, message, client=client)
        await asyncio.wait_for(client.complete.wait(), LONGEST)
    except Exception as error:
        LOG.warning(
            "The page %s was not drawn ahead: %s", view or "that comes first", type(error).__name__
        )
    finally:
        if session:
            runtime.close_session(session)
    gc.collect()
    gc.freeze()
