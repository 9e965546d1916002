"""What the agent counts, by camera: as many as the file names."""

from prometheus_client import Counter, Gauge

SOURCES_UP = Gauge("huella_agent_source_up", "1 while the source gives photos, 0 while it does not.", ["camera"])
SOURCE_FAILURES = Counter("huella_agent_source_failures_total", "Times that a source failed.", ["camera", "reason"])
PHOTOS = Counter(
    "huella_agent_photos_total", "Photos that a source gave: kept, unchanged or unreadable.", ["camera", "outcome"]
)
LAST_PHOTO = Gauge("huella_agent_last_photo_timestamp_seconds", "When the source last gave a photo.", ["camera"])
DELIVERIES = Counter(
    "huella_agent_deliveries_total", "Tries to PUT a frame: accepted, repeated, refused, failed.", ["camera", "outcome"]
)
DROPPED = Counter(
    "huella_agent_dropped_frames_total",
    "Frames that were kept and given up: for want of room (bound, disk), refused by ingest, or torn by a power cut.",
    ["camera", "reason"],
)
SPOOL_FRAMES = Gauge("huella_agent_spool_frames", "Frames that ingest has not taken yet.", ["camera"])
SPOOL_BYTES = Gauge("huella_agent_spool_bytes", "Their bytes.", ["camera"])
SPOOL_OLDEST = Gauge(
    "huella_agent_spool_oldest_timestamp_seconds",
    "When the oldest of them was captured; 0 if there is none.",
    ["camera"],
)
