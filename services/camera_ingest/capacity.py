"""Whether there is room for one more frame, known without asking the disk or the database at each PUT."""

import threading
from datetime import datetime

from sqlalchemy import func, select

from services.camera_ingest import ledger, metrics
from services.camera_ingest.files import ImageFiles
from services.camera_ingest.settings import Settings
from services.camera_ingest.tables import frames, in_flight
from shared.database import Database
from shared.problem import unavailable
from shared.receipts import given_at

JANITOR_STARTS = 0.95
JANITOR_STOPS = 0.90
SPARE = 1.1


class Capacity:
    """What is in use, measured about once a second, plus what this process accepted since that look began.

    `room_needed` is set when a frame found no room, for the janitor.
    """

    def __init__(self, settings: Settings, database: Database, files: ImageFiles) -> None:
        self._settings = settings
        self._database = database
        self._files = files
        self.room_needed = threading.Event()
        self._lock = threading.Lock()
        self.in_flight = 0
        self.image_bytes = 0
        self.free_bytes = 0
        self._added = 0, 0
        """Frames and bytes that were accepted since the last look began."""

    def measure(self, now: datetime) -> None:
        """Look at the database and the disk, and set the gauges. Raises what those raise."""
        with self._lock:
            self._added = 0, 0
        with self._database.read() as connection:
            number, oldest = connection.execute(select(func.count(), func.min(frames.c.receipt)).where(in_flight)).one()
            kept = ledger.image_bytes(connection)
        free = self._files.free_bytes()
        with self._lock:
            # What was accepted meanwhile may not be in what was read. If it is, it counts twice until the next look.
            frames_since, bytes_since = self._added
            self.in_flight, self.image_bytes = number + frames_since, kept + bytes_since
            self.free_bytes = free - bytes_since
        metrics.IN_FLIGHT.set(number)
        metrics.OLDEST.set(max(0.0, (now - given_at(oldest)).total_seconds()) if oldest else 0)
        metrics.IMAGE_BYTES.set(kept)

    def admit(self) -> None:
        """Return if one more frame may come. Raises Problem 503 when only waiting can help."""
        if self.in_flight >= self._settings.max_in_flight:
            raise unavailable("Too many frames wait to be classified. Keep the photo and send it again later.", 15)
        if self.image_bytes >= self._settings.quota_bytes or self.free_bytes < self._settings.free_bytes:
            self.room_needed.set()
            raise unavailable("The disk is full of frames. Keep the photo and send it again later.", 30)

    def add(self, size: int) -> None:
        """Note a frame that was accepted since the last measurement."""
        with self._lock:
            self.in_flight += 1
            self.image_bytes += size
            self.free_bytes -= size
            self._added = self._added[0] + 1, self._added[1] + size

    def room_wanted(self) -> int:
        """Return how many bytes of images the janitor should remove now."""
        settings = self._settings
        wanted = 0
        if self.image_bytes > settings.quota_bytes * JANITOR_STARTS:
            wanted = self.image_bytes - int(settings.quota_bytes * JANITOR_STOPS)
        if self.free_bytes < settings.free_bytes * SPARE:
            wanted = max(wanted, int(settings.free_bytes * SPARE) - self.free_bytes)
        return wanted
