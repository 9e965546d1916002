"""Try a photo: what the model says of a picture, and why it may be unsure. Nothing of it is kept."""

import base64

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from services.dashboard.access import Form, Viewer
from services.dashboard.clients import Refused
from services.dashboard.parts import PartsOf
from services.dashboard.photos import Unshowable, shrink

router = APIRouter(tags=["pages"])

UPLOAD_LIMIT = 11 * 1024 * 1024


@router.get("/try", response_class=HTMLResponse, name="try_photo")
async def show_form(request: Request, viewer: Viewer, parts: PartsOf) -> HTMLResponse:
    """Ask for a photo."""
    return parts.renderer.page(request, "try.html", prediction=None, problem="", picture="", down=[])


@router.post("/try", response_class=HTMLResponse, name="ask_model", max_body_size=UPLOAD_LIMIT)
async def ask_model(request: Request, viewer: Viewer, form: Form, parts: PartsOf) -> HTMLResponse:
    """Show what the model says of the photo."""
    upload = form.get("photo")
    photo = await upload.read() if isinstance(upload, UploadFile) else b""
    if not photo:
        return parts.renderer.page(
            request, "try.html", status=422, prediction=None, problem="no_photo", picture="", down=[]
        )
    try:
        prediction = await parts.classifier.predict(viewer.person, photo)
        # In the page itself: the photo is shown without being kept anywhere.
        small = await run_in_threadpool(shrink, photo, 960, 540)
    except (Refused, Unshowable) as error:
        reason = error.detail if isinstance(error, Refused) else "unshowable"
        return parts.renderer.page(
            request, "try.html", status=422, prediction=None, problem=reason, picture="", down=[]
        )
    picture = "data:image/jpeg;base64," + base64.b64encode(small).decode()
    return parts.renderer.page(request, "try.html", prediction=prediction, problem="", picture=picture, down=[])
