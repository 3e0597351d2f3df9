"""The static files: ours alone, read once, kept by browsers for as long as their address names them."""

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from services.api.console.pages import Pages
from shared.errors import NotFound


@get("/static/{digest:str}/{name:str}", opt={"anybody": True}, sync_to_thread=False)
def static_file(pages: NamedDependency[Pages], digest: FromPath[str], name: FromPath[str]) -> Response[bytes]:
    """A file; under another digest than its own, which an older page may ask for, it is not kept."""
    asset = pages.assets.get(name)
    if asset is None:
        raise NotFound(f"There is no file {name}.")
    kept = "public, max-age=31536000, immutable" if digest == asset.digest else "no-store"
    return Response(asset.body, media_type=asset.media_type, headers={"cache-control": kept})


ROUTES = [static_file]
