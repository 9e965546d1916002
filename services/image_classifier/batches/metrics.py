"""What batches measure of themselves."""

from prometheus_client import Counter, Gauge

INPUTS = Counter("huella_batch_inputs_total", "Inputs of batches that ended, by how.", ["outcome"])
GIVEN_BACK = Counter("huella_batch_given_back_total", "Times that a worker gave back inputs for want of time.")
FAILURES = Counter("huella_batch_failures_total", "What batches had to do without for a moment.", ["kind"])
WAITING = Gauge("huella_batches_unfinished", "Batches queued or running.")
