"""Events for older clients: the members of API 1.21 that were sent along until 1.51."""

from sampan.server.compat.change import Document, before


def _repeat_actor(document: Document) -> None:
    actor = document["Actor"]
    if document["Type"] not in ("container", "image"):
        return
    document["status"], document["id"] = document["Action"], actor["ID"]
    if document["Type"] == "container":
        document["from"] = actor["Attributes"].get("image", "")


MESSAGE = (before(52, _repeat_actor),)
