"""How the problems of a route are written into OpenAPI: `responses=problems(401, 403)`."""

from typing import Any, Final

from shared.problem import MEDIA_TYPE

# status → (slug, when it happens and what the caller can do)
PROBLEMS: Final = {
    401: ("unauthorized", "Send a bearer token: `make token ROLE=viewer` prints one."),
    403: ("forbidden", "This needs the role viewer; your token has service."),
    404: ("not-found", "There is no such model version. /v1/models lists those that there are."),
    408: ("request-timeout", "The image did not arrive within 15 s. Send it again over a faster connection."),
    409: ("already-ended", "This batch is done; there is nothing left to cancel."),
    413: ("content-too-large", "The body is larger than this address takes. Send a smaller one."),
    415: ("unsupported-media-type", "Not a JPEG, PNG or WebP image. Its content decides, not the header."),
    422: ("undecodable-image", "The image can't be decoded: truncated. Send a whole image of up to 40 megapixels."),
    429: ("too-many-batches", "You have 10 unfinished batches. Wait until one is done, or cancel one."),
    503: ("unavailable", "Too many images wait for the model. Send it again shortly."),
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI responses of those statuses, each with an example."""
    return {status: _response(status, *PROBLEMS[status]) for status in statuses}


def _response(status: int, slug: str, detail: str) -> dict[str, Any]:
    example = {
        "type": f"urn:huella:problem:{slug}",
        "title": slug.replace("-", " ").capitalize(),
        "status": status,
        "detail": detail,
    }
    kind = {"string": "string", "integer": "integer"}
    schema = {
        "type": "object",
        "title": "Problem",
        "required": list(example),
        "properties": {key: {"type": kind["integer" if key == "status" else "string"]} for key in example},
    }
    response: dict[str, Any] = {
        "description": example["title"],
        "content": {MEDIA_TYPE: {"schema": schema, "example": example}},
    }
    if status in (429, 503):
        response["headers"] = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}
    return response
