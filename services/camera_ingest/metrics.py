"""What camera_ingest measures of itself; labels are bounded."""

from prometheus_client import Counter, Gauge, Histogram

FRAMES = Counter("huella_frames_received_total", "Frames that cameras sent, by what became of them.", ["outcome"])
HIDDEN_REFUSALS = Counter(
    "huella_frames_refused_behind_200_total",
    "Frames refused of cameras that are answered 200 whatever comes of them, by the true verdict.",
    ["verdict"],
)
FRAME_BYTES = Counter("huella_frame_bytes_total", "Bytes of accepted frames.")
ACCEPT = Histogram(
    "huella_frame_accept_seconds",
    "Time from a frame's last byte to its durable row.",
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5),
)
OFFERS = Counter("huella_frame_offers_total", "Frames offered to the classifier.", ["kind"])
CHUNKS = Counter("huella_chunks_offered_total", "Messages published to the classifier.")
RELAY_FAILURES = Counter("huella_relay_failures_total", "Times that the relay could not do its work.", ["kind"])
SETTLED = Counter("huella_frames_settled_total", "Frames settled, by their new state.", ["state"])
REJECTED = Counter("huella_frames_rejected_total", "Frames rejected, by who gave the reason.", ["kind"])
IN_FLIGHT = Gauge("huella_frames_in_flight", "Accepted frames that are not settled.")
OLDEST = Gauge("huella_oldest_unsettled_seconds", "Age of the oldest accepted frame that is not settled.")
IMAGE_BYTES = Gauge("huella_image_bytes", "Bytes of image files kept.")
IMAGES_REMOVED = Counter("huella_images_removed_total", "Image files that the janitor removed.", ["why"])
JANITOR_FAILURES = Counter("huella_janitor_failures_total", "Rounds of the janitor that failed.")
WRONG_SECRETS = Counter("huella_camera_secrets_refused_total", "Requests with a camera's secret that is wrong.")
MISSING_IMAGES = Counter("huella_images_missing_total", "Unsettled frames whose image file could not be read.")
