"""Batches: up to a thousand inputs predicted as one job, beside the cameras."""
