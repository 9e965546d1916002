"""Answers that several pages give."""

from urllib.parse import urlencode, urlsplit

from fastapi.responses import RedirectResponse

from shared.problem import Problem


def see(path: str, done: str = "", **parameters: str) -> RedirectResponse:
    """Return a redirect after a form, to `path` with a word on what was done; a reload then repeats nothing."""
    where = urlsplit(path)
    kept = [pair for pair in where.query.split("&") if pair and not pair.startswith("done=")]
    added = urlencode({**({"done": done} if done else {}), **parameters})
    query = "&".join([*kept, *([added] if added else [])])
    fragment = f"#{where.fragment}" if where.fragment else ""
    return RedirectResponse(f"{where.path}{'?' + query if query else ''}{fragment}", status_code=303)


def whole_number(text: str) -> int:
    """Return a number that a person typed. Raises Problem 422."""
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise Problem(422, "not-a-number", f"“{text[:20]}” is not a whole number. Go back and correct it.")
    return int(text)
