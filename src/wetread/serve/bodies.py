"""Bodies of requests that are in memory as a whole: neither long nor slow without end, as each holds a place."""

from __future__ import annotations

import asyncio

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request


async def whole(request: Request, most: int, within_s: float) -> bytes:
    """Return the body of a request.

    Parameters
    ----------
    most
        Bytes.
    within_s
        How long it may take from now on, however it comes.

    Raises
    ------
    HTTPException
        408: it is not here in time; 413: it is longer; 400: the client left, and nobody reads the answer.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(within_s):
            async for chunk in request.stream():
                body += chunk
                if len(body) > most:
                    raise HTTPException(413, f"body: expected at most {most} bytes, got more")
    except TimeoutError as error:
        said = f"body: expected it whole within {within_s:g} s, got {len(body)} bytes; send again"
        raise HTTPException(408, said, {"Connection": "close"}) from error
    except ClientDisconnect as error:
        raise HTTPException(400, f"body: broken off after {len(body)} bytes") from error
    return bytes(body)
