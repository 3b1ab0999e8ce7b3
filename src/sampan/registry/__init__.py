"""Images travel: the distribution specification's two ends, sharing their vocabulary (``protocol``)."""
