"""The Docker Engine API as values: wire types, their JSON, filters, stream framing, connections given away.

One file per noun of the API reference. Attributes are Python's (``host_config``), names on the wire are
Docker's (``HostConfig``); ``api.wire`` says how one becomes the other and which empty fields are left out.
"""
