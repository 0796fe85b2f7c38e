"""A web viewer's files, so that a browser sees images and results with nothing but the node: OHIF (@ohif/app).

The viewer is a page without a server of its own; all that it asks goes to DICOMweb of this node.  `ohif.js` tells it
where that is.
"""

from __future__ import annotations

from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from wetread.errors import SettingsError

#: What the page may load, and whom it may call: this node, nobody else.  It compiles WebAssembly and makes workers.
POLICY = (
    "default-src 'self' blob: data:; script-src 'self' blob: 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; frame-ancestors 'self'"
)
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",  # asked for each time, answered 304 while it is the same
}
CONFIG = Path(__file__).with_name("ohif.js")


def routes(folder: Path) -> list[BaseRoute]:
    """Return where the viewer is: at the root, behind all that the node answers itself.

    Raises
    ------
    SettingsError
        The folder holds no viewer.
    """
    folder = folder.expanduser()
    if not (folder / "index.html").is_file():
        raise SettingsError(f"viewer: {folder}: expected the folder dist of @ohif/app with its index.html, found none")
    return [Route("/app-config.js", _config), Route("/{path:path}", _Page(directory=folder))]


async def _config(_request: Request) -> Response:
    """Answer with our configuration: the viewer's own one shows a demonstration on the internet."""
    return FileResponse(CONFIG, media_type="text/javascript", headers=_HEADERS)


class _Page(StaticFiles):
    """Files, and the page for every address that it makes up while it is used."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        try:
            made = await super().get_response(path, scope)
        except HTTPException as error:
            if error.status_code != 404 or Path(path).suffix:
                raise
            made = await super().get_response("index.html", scope)
        made.headers.update(_HEADERS)
        return made
