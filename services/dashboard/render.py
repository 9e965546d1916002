"""Templates into answers: in the person's language, theme and rights, escaped, never stored by a cache."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from services.dashboard import translate
from services.dashboard.domain import THEMES, chosen_language
from services.dashboard.settings import Settings
from services.dashboard.store import Session
from services.dashboard.words import PLACES, Words
from shared.database import now
from shared.messages import isoformat
from shared.tokens import Role

FOLDER = Path(__file__).parent
LANGUAGE_COOKIE = "huella_language"
THEME_COOKIE = "huella_theme"


class Renderer:
    """The templates, compiled once a language."""

    def __init__(self, settings: Settings) -> None:
        self._zone = ZoneInfo(settings.time_zone)
        self._version = str(int(max(path.stat().st_mtime for path in (FOLDER / "static").iterdir())))
        self._languages = {
            language: self._open(language, catalogue) for language, catalogue in translate.load().items()
        }

    def _open(self, language: str, catalogue: Any) -> tuple[Environment, Words]:
        words = Words(translate.Speech(language, catalogue, self._zone))
        environment = Environment(
            loader=FileSystemLoader(FOLDER / "templates"),
            autoescape=select_autoescape(default=True),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=["jinja2.ext.i18n"],
        )
        environment.install_gettext_translations(catalogue, newstyle=True)  # type: ignore[attr-defined]  # of the extension
        environment.globals.update(
            words=words, speech=words.speech, places=PLACES, language=language, static_version=self._version
        )
        environment.filters["iso"] = isoformat
        return environment, words

    def words(self, request: Request) -> Words:
        """Return the words of the language to answer in."""
        return self._languages[language_of(request)][1]

    def page(
        self,
        request: Request,
        template: str,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        **context: object,
    ) -> HTMLResponse:
        """Return a template as an answer; every template knows the session (or None), the time and the address."""
        environment, _ = self._languages[language_of(request)]
        session: Session | None = getattr(request.state, "session", None)
        everywhere = {
            "session": session,
            "may_operate": _may(session, Role.OPERATOR),
            "may_administer": _may(session, Role.ADMIN),
            "path": request.url.path,
            "here": request.url.path + (f"?{request.url.query}" if request.url.query else ""),
            "theme": theme_of(request),
            "now": moment_of(request),
            "done": request.query_params.get("done", ""),
            "said_below": False,
        }
        html = environment.get_template(template).render({**everywhere, **context})
        return HTMLResponse(html, status, {"Cache-Control": "no-store", "Vary": "Cookie", **(headers or {})})


def _may(session: Session | None, role: Role) -> bool:
    ranks = (Role.VIEWER, Role.OPERATOR, Role.ADMIN)
    return session is not None and ranks.index(session.person.role) >= ranks.index(role)


def moment_of(request: Request) -> datetime:
    """Return the time of the request: one moment for everything on a page."""
    if not hasattr(request.state, "moment"):
        request.state.moment = now()
    moment: datetime = request.state.moment
    return moment


def language_of(request: Request) -> str:
    """Return the language to answer in."""
    return chosen_language(request.cookies.get(LANGUAGE_COOKIE), request.headers.get("accept-language", ""))


def theme_of(request: Request) -> str:
    """Return the theme that was switched to, or `auto`."""
    theme = request.cookies.get(THEME_COOKIE, "auto")
    return theme if theme in THEMES else "auto"
