"""What aggregation measures of its own work; labels are bounded by the words of the domain."""

from prometheus_client import Counter, Gauge, Histogram

ESTIMATES = Counter("huella_estimates_total", "Frames counted, by what the model called them.", ["label"])
REPEATED = Counter("huella_estimates_repeated_total", "Estimates of frames that were counted already.")
LATE = Counter("huella_estimates_late_total", "Frames counted that came later than the horizon: history only.")
REJECTED = Counter("huella_rejections_passed_on_total", "Frames that can never be estimated, passed on to ingest.")
BAD_MESSAGES = Counter("huella_messages_refused_total", "Messages or results dropped.", ["reason"])
VISIBLE = Histogram(
    "huella_frame_visible_seconds",
    "From the receipt being given to the estimate being counted and visible.",
    buckets=(0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 15, 60, 300),
)
SETTLED = Counter("huella_settlements_total", "Settlements by what became of them.", ["outcome"])
SETTLEMENTS_PENDING = Gauge("huella_settlements_pending", "Settlements that wait to be delivered to ingest.")
SETTLEMENTS_REFUSED = Gauge(
    "huella_settlements_refused",
    "Counted frames whose settlement ingest refuses or does not know; told again by the hour.",
)
DELIVERED = Counter(
    "huella_corrections_delivered_total", "Corrections told to the classifier, by outcome.", ["outcome"]
)
DELIVERIES_PENDING = Gauge("huella_corrections_pending", "Corrections that wait to be delivered to the classifier.")
FAILURES = Counter("huella_loop_failures_total", "Rounds that ended with an unforeseen error, by loop.", ["loop"])
CHANGES = Counter("huella_changes_total", "Entries written to the stream of changes.", ["kind"])
TICKS = Counter("huella_ticks_total", "Rounds of the ticker, by whether this process held the lease.", ["held"])
PRUNED = Counter("huella_rows_pruned_total", "Rows removed by age.", ["table"])
LISTENERS = Gauge("huella_event_listeners", "Event streams open now.")
LISTENERS_DROPPED = Counter("huella_event_listeners_dropped_total", "Event streams ended for being too slow.")
LISTENERS_STALLED = Counter("huella_event_listeners_stalled_total", "Event streams ended since nobody read them.")
