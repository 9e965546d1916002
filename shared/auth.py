"""FastAPI dependencies that let a route say who may call it, in its signature: `caller: Viewer`."""

from collections.abc import Awaitable, Callable, Collection
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from shared.problem import Problem
from shared.tokens import BadToken, Identity, Role

bearer = HTTPBearer(auto_error=False, description="A token from `make token ROLE=...`, or a service's own.")


def unauthorized(detail: str, scheme: str = "Bearer") -> Problem:
    """Return a 401 that names the scheme to use."""
    return Problem(401, "unauthorized", detail, headers={"WWW-Authenticate": f'{scheme} realm="huella"'})


def identify(request: Request, credentials: HTTPAuthorizationCredentials | None) -> Identity:
    """Return who sent the bearer token; the app's `state` holds `keyring` and `service`. Raises Problem 401."""
    if credentials is None:
        raise unauthorized("Send a bearer token: `make token ROLE=viewer` prints one.")
    try:
        identity: Identity = request.app.state.keyring.identify(credentials.credentials, request.app.state.service)
    except BadToken as error:
        raise unauthorized(f"This token is refused: {error}. `make token ROLE=viewer` prints a new one.") from None
    return identity


def require(*roles: Role, issuers: Collection[str] = ()) -> Callable[..., Awaitable[Identity]]:
    """Return a dependency that lets in who has the rights of any of `roles`, and answers 401 or 403 to others.

    With `issuers`, only tokens of these are let in: what one service is for, another need not be able to do.
    """
    needed = " or ".join(role.value for role in roles)

    async def dependency(
        request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]
    ) -> Identity:
        identity = identify(request, credentials)
        if not any(identity.may(role) for role in roles):
            raise Problem(403, "forbidden", f"This needs the role {needed}; your token has {identity.role.value}.")
        if issuers and identity.issuer not in issuers:
            raise Problem(403, "forbidden", f"This is for {' and '.join(issuers)} alone, not for {identity.issuer}.")
        return identity

    return dependency


Viewer = Annotated[Identity, Depends(require(Role.VIEWER))]
Operator = Annotated[Identity, Depends(require(Role.OPERATOR))]
Admin = Annotated[Identity, Depends(require(Role.ADMIN))]
Aggregation = Annotated[Identity, Depends(require(Role.SERVICE, issuers=["aggregation"]))]
ImageClassifier = Annotated[Identity, Depends(require(Role.SERVICE, issuers=["image_classifier"]))]
ViewerOrService = Annotated[Identity, Depends(require(Role.VIEWER, Role.SERVICE))]
