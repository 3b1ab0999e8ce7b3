"""Networks for older clients."""

from sampan.server.compat.change import before, without

INSPECTION = (before(52, without("Status")),)
