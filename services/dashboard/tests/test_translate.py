"""Every word of the page is there in both languages."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

from services.dashboard import translate

FOLDER = Path(translate.__file__).parent
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def said_in_english() -> set[str | tuple[str, ...]]:
    """Return every message of the templates and of the code."""
    found = extract_from_dir(
        FOLDER,
        method_map=[("templates/**.html", "jinja2"), ("words.py", "python"), ("translate.py", "python")],
        keywords={"_": None, "gettext": None, "ngettext": (1, 2)},
    )
    return {message for _, _, message, _, _ in found}


def test_every_message_is_said_in_spanish_and_no_other() -> None:
    with (FOLDER / "locale" / "es.po").open("rb") as file:
        catalogue = read_po(file, locale="es", abort_invalid=True)
    spanish = {message.id: message for message in catalogue if message.id}
    english = said_in_english()
    assert len(english) > 300  # it did look
    assert english - set(spanish) == set(), "not translated"
    assert set(spanish) - english == set(), "no longer used"
    for message in spanish.values():
        strings = message.string if isinstance(message.string, tuple) else (message.string,)
        assert all(strings), message.id
        assert not message.fuzzy, message.id
        assert list(message.check(catalogue)) == []


@pytest.mark.parametrize(
    ("language", "said"),
    [("en", ("just now", "5 minutes ago", "11:55", "21 Nov 11:55", "97%")),
     ("es", ("ahora mismo", "hace 5 minutos", "11:55", "21 nov 11:55", "97\u00a0%"))],
)  # fmt: skip
def test_times_and_shares_are_said_as_people_do(language: str, said: tuple[str, ...]) -> None:
    speech = translate.Speech(language, translate.load()[language], UTC)
    earlier = NOW - timedelta(minutes=5)
    assert (
        speech.ago(NOW - timedelta(seconds=1), NOW),
        speech.ago(earlier, NOW),
        speech.clock(earlier, NOW),
        speech.clock(earlier - timedelta(days=1), NOW),
        speech.percent(0.97).replace(" ", "\u00a0"),
    ) == said


@pytest.mark.parametrize(("share", "shown"), [(0.0, "0%"), (0.001, "1%"), (0.999, "99%"), (1.0, "100%")])
def test_what_is_not_quite_certain_is_never_called_so(share: float, shown: str) -> None:
    assert translate.Speech("en", translate.load()["en"], UTC).percent(share) == shown
