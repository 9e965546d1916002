"""`make token`: prints a bearer token for a person or a script, and nothing else, on standard output."""

import sys
from typing import Annotated

import typer

from deploy.local.running import configured
from deploy.local.system import CannotStart
from shared.tokens import PEOPLE, Role, Signer

DAY_S = 86_400
PEOPLES_ROLES = tuple(role.value for role in Role if role is not Role.SERVICE)

app = typer.Typer(add_completion=False)


@app.command()
def token(
    role: Annotated[str, typer.Option(help=f"One of {', '.join(PEOPLES_ROLES)}.")],
    days: Annotated[float, typer.Option(help="How long it is valid.", min=1 / 1440, max=3660)] = 30,
    subject: Annotated[str, typer.Option(help="Whose it is, for the record of changes.")] = "cli",
) -> None:
    """Print a token with the rights of a role, signed with the key of the command line."""
    if role not in PEOPLES_ROLES:
        raise typer.BadParameter(f"{role!r} is not one of {', '.join(PEOPLES_ROLES)}", param_hint="--role")
    try:
        keys = configured().keys
    except CannotStart as error:
        raise typer.BadParameter(str(error)) from None
    try:
        signer = Signer(keys, "cli")
    except OSError as error:
        reason = "does not exist yet: `make up` makes it" if isinstance(error, FileNotFoundError) else error.strerror
        print(f"The key {keys / 'private' / 'cli.pem'} {reason}.", file=sys.stderr)
        raise typer.Exit(1) from None
    print(signer.mint(subject, Role(role), PEOPLE, lifetime_s=int(days * DAY_S)))


if __name__ == "__main__":
    app()
