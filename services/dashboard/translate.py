"""The page in English and Spanish: English is in the code, Spanish in `locale/es.po`, read when the process starts."""

from collections.abc import Mapping
from datetime import date, datetime, timedelta, tzinfo
from io import BytesIO
from pathlib import Path

from babel.dates import format_date, format_datetime, format_time, format_timedelta
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_decimal, format_percent
from babel.support import NullTranslations, Translations

from services.dashboard.domain import LANGUAGES

LOCALE = Path(__file__).parent / "locale"


def load() -> Mapping[str, NullTranslations]:
    """Return the catalogue of each language. Raises if a file is missing or malformed."""
    return {language: NullTranslations() if language == "en" else _read(language) for language in LANGUAGES}


def _read(language: str) -> Translations:
    # From the text that translators edit: a compiled file in the repository would go stale unseen.
    with (LOCALE / f"{language}.po").open("rb") as source:
        catalogue = read_po(source, locale=language, abort_invalid=True)
    compiled = BytesIO()
    write_mo(compiled, catalogue)
    compiled.seek(0)
    return Translations(compiled)


class Speech:
    """Words, times and numbers in one language and time zone."""

    def __init__(self, language: str, catalogue: NullTranslations, zone: tzinfo) -> None:
        self.language = language
        self.zone = zone
        self.gettext = catalogue.gettext
        self.ngettext = catalogue.ngettext

    def ago(self, moment: datetime, now: datetime) -> str:
        """Return how long before `now` a moment was, such as `3 minutes ago`."""
        passed = min(moment - now, timedelta(0))
        if passed > timedelta(seconds=-5):
            return self.gettext("just now")
        return format_timedelta(passed, add_direction=True, locale=self.language)

    def duration(self, length: timedelta) -> str:
        """Return a length of time in its largest fitting unit, such as `3 hours`."""
        return format_timedelta(length, threshold=1.5, locale=self.language)

    def clock(self, moment: datetime, now: datetime) -> str:
        """Return the hour and minute of a moment, with the day if it is not today's."""
        local, today = moment.astimezone(self.zone), now.astimezone(self.zone).date()
        hour = format_time(local, "HH:mm", locale=self.language)
        if local.date() == today:
            return hour
        return f"{format_date(local.date(), 'd MMM', locale=self.language)} {hour}"

    def full(self, moment: datetime) -> str:
        """Return a moment with day, second and zone."""
        return format_datetime(moment.astimezone(self.zone), "d MMM y, HH:mm:ss z", locale=self.language)

    def date(self, day: date) -> str:
        """Return a day, such as `22 Nov`."""
        return format_date(day, "d MMM", locale=self.language)

    def percent(self, share: float) -> str:
        """Return a share of 1 as whole percents; what is not quite certain is never called 100 %."""
        shown = share if share in (0, 1) else min(max(share, 0.01), 0.99)
        return format_percent(shown, "#,##0 %" if self.language == "es" else "#,##0%", locale=self.language)

    def number(self, value: float) -> str:
        """Return a number with at most two decimals."""
        shown: str = format_decimal(value, "#,##0.##", locale=self.language)
        return shown
