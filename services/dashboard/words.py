"""The design's words as people say them: occupancies, labels, states, reasons; a table each."""

from dataclasses import dataclass

from services.dashboard.translate import Speech


def _(message: str) -> str:
    """Mark a message for translation; it is translated when it is shown."""
    return message


@dataclass(frozen=True, slots=True)
class Place:
    """A page that the navigation leads to, with the addresses `below` it; on a phone's bar only if `on_phone`.

    What is not on the phone's bar, which has room for six, is in its menu.
    """

    address: str
    icon: str
    title: str
    below: tuple[str, ...] = ()
    on_phone: bool = True


PLACES = (
    Place("/", "now", _("Now"), below=("/spaces",)),
    Place("/review", "review", _("Review")),
    Place("/try", "try", _("Try a photo")),
    Place("/batches", "batches", _("Batches"), below=("/batches/",), on_phone=False),
    Place("/history", "history", _("History")),
    Place("/health", "health", _("Health")),
    Place("/models", "repeat", _("Models"), on_phone=False),
    Place("/setup", "setup", _("Set-up"), below=("/cameras",)),
)
STRATEGY = {
    "single": _("One version"),
    "silent": _("Watching silently"),
    "ab": _("Compared by camera"),
    "canary": _("Step by step"),
    "bandit": _("The best more often"),
}
PART = {"champion": _("trusted"), "candidate": _("on trial")}
OCCUPANCY = {
    "cat": _("Cat"),
    "dog": _("Dog"),
    "both": _("Cat and dog"),
    "empty": _("Empty"),
    "unsure": _("Unsure"),
    "stale": _("No recent evidence"),
}
LABEL = {
    "cat": _("Cat"),
    "dog": _("Dog"),
    "both": _("Cat and dog"),
    "none": _("Nobody"),
    "unsure": _("Unsure"),
}
STATE = {
    "available": _("Available"),
    "reserved": _("Reserved"),
    "adopted": _("Adopted"),
    "not_available": _("Not available"),
}
PURPOSE = {"adoption": _("Adoption"), "quarantine": _("Quarantine"), "staff": _("Staff")}
ROLE = {"viewer": _("Viewer"), "operator": _("Operator"), "admin": _("Administrator")}
ROLE_MEANS = {
    "viewer": _("Sees everything, changes nothing"),
    "operator": _("Also corrects photos and decides about stays"),
    "admin": _("Also sets up spaces, cameras and people"),
}
SPECIES = {"cat": _("Cat"), "dog": _("Dog")}
QUALITY = {
    "ok": _("Good picture"),
    "dark": _("Too dark"),
    "blown_out": _("Too bright"),
    "blurred": _("Blurred"),
}
LOOK = {
    "no_camera_sends": _("No camera sends photos"),
    "camera_silent": _("A camera is silent"),
    "stale": _("No recent evidence"),
    "blind": _("Photos arrive, but none counts as evidence"),
    "unsure": _("The model is unsure"),
}
REVIEW = {
    "unsure": _("The model is unsure"),
    "camera": _("Another camera disagrees"),
    "person": _("A person disagrees"),
    "model": _("Another model version disagrees"),
}
REASON = {
    "truncated": _("The photo is cut off: its end is missing"),
    "truncated or damaged header": _("The photo's beginning is damaged"),
    "not a JPEG, PNG or WebP image": _("This is no JPEG, PNG or WebP photo"),
    "empty": _("The photo is empty"),
    "gave up": _("The model failed on it again and again"),
}
FAULT = {"never": _("No photo yet"), "silent": _("Silent")}
BATCH = {
    "queued": _("Waiting"),
    "running": _("Under way"),
    "done": _("Done"),
    "cancelled": _("Cancelled"),
    "failed": _("Failed"),
}
SERVICE = {
    "camera_ingest": _("Photos and cameras"),
    "image_classifier": _("The model"),
    "aggregation": _("Adoption status"),
    "dashboard": _("This page"),
}
DONE = {
    "saved": _("Saved."),
    "corrected": _("Thank you: the photo is corrected."),
    "undone": _("The correction is undone."),
    "offered": _("The photo is offered to the model again."),
    "removed": _("Removed."),
    "cancelled": _("Cancelled."),
    "revoked": _("The old secret is no longer accepted."),
    "withdrawn": _("The invitation is withdrawn."),
    "password": _("Your password is changed. Please log in again."),
    "left": _("You are logged out."),
    "left_everywhere": _("You are logged out everywhere."),
    "welcome": _("Your account is ready. Please log in."),
}


class Words:
    """The tables in one language; a word that the page does not know yet is shown as it is."""

    def __init__(self, speech: Speech) -> None:
        self.speech = speech

    def _word(self, table: dict[str, str], key: str) -> str:
        return self.speech.gettext(table[key]) if key in table else key

    def place(self, place: Place) -> str:
        return self.speech.gettext(place.title)

    def occupancy(self, key: str) -> str:
        return self._word(OCCUPANCY, key)

    def label(self, key: str) -> str:
        return self._word(LABEL, key)

    def state(self, key: str) -> str:
        return self._word(STATE, key)

    def purpose(self, key: str) -> str:
        return self._word(PURPOSE, key)

    def role(self, key: str) -> str:
        return self._word(ROLE, key)

    def role_means(self, key: str) -> str:
        return self._word(ROLE_MEANS, key)

    def species(self, key: str) -> str:
        return self._word(SPECIES, key)

    def quality(self, key: str) -> str:
        return self._word(QUALITY, key)

    def look(self, key: str) -> str:
        return self._word(LOOK, key)

    def review(self, key: str) -> str:
        return self._word(REVIEW, key)

    def reason(self, key: str) -> str:
        """Return why a photo was rejected, in this language if the reason is one of the usual ones, else as it came."""
        return self._word(REASON, key)

    def fault(self, key: str) -> str:
        return self._word(FAULT, key)

    def batch(self, key: str) -> str:
        return self._word(BATCH, key)

    def service(self, key: str) -> str:
        return self._word(SERVICE, key)

    def strategy(self, key: str) -> str:
        """Return how versions share the photos."""
        return self._word(STRATEGY, key)

    def part(self, key: str) -> str:
        """Return the role of a version."""
        return self._word(PART, key)

    def done(self, key: str) -> str:
        return self._word(DONE, key) if key in DONE else ""
