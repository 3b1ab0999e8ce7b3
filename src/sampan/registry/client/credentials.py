"""What a user presents to a registry: the value behind ``X-Registry-Auth`` and a login's body."""

import msgspec


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """Either a name and password, an identity (refresh) token, or a ready bearer token; all empty = anonymous."""

    username: str = ""
    password: str = ""
    identity_token: str = ""
    registry_token: str = ""
    server_address: str = ""

    @property
    def anonymous(self) -> bool:
        """True when nothing here could identify anybody."""
        return not (self.username or self.identity_token or self.registry_token)


ANONYMOUS = Credentials()
