"""Rankings to figures. Plain arrays in, numbers out; nothing here knows a library or an encoder."""

from app.metrics.precision import Precision, bootstrap_interval, precision_at_k

__all__ = ["Precision", "bootstrap_interval", "precision_at_k"]
