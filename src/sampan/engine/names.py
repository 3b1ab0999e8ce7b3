"""Names for containers that were given none: a trait and a sailor, explorer or shipwright, ``steady_magellan``."""

import secrets
from collections.abc import Callable

TRAITS = (
    "able", "agile", "amber", "ardent", "blithe", "bold", "brave", "breezy", "bright", "brisk", "calm", "candid",
    "cheery", "clever", "coral", "crisp", "deft", "eager", "earnest", "fair", "fleet", "frank", "gallant", "gentle",
    "golden", "hardy", "hearty", "humble", "jolly", "keen", "kind", "lively", "loyal", "lucid", "mellow", "merry",
    "mighty", "modest", "nimble", "noble", "patient", "placid", "plucky", "prudent", "quick", "quiet", "ready",
    "salty", "serene", "sharp", "silver", "smooth", "sober", "spry", "steady", "stout", "sturdy", "sunny", "swift",
    "tidal", "trim", "trusty", "upbeat", "valiant", "vivid", "warm", "wise", "witty", "zesty",
)  # fmt: skip
SURNAMES = (
    "amundsen", "baret", "barents", "battuta", "beaufort", "bering", "bligh", "bougainville", "brunel", "cabot",
    "cabral", "cartier", "champlain", "chapman", "chichester", "columbus", "cook", "dampier", "davis", "dias", "drake",
    "elcano", "erikson", "flinders", "franklin", "frobisher", "gama", "hanno", "harrison", "hawkins", "heyerdahl",
    "hudson", "kotzebue", "laperouse", "lind", "macarthur", "magellan", "maury", "mercator", "nansen", "necho",
    "nelson", "noonuccal", "ohthere", "orellana", "parry", "piailug", "pytheas", "quiros", "raleigh", "ross",
    "selkirk", "shackleton", "sinbad", "slocum", "tabarly", "tasman", "torres", "tupaia", "urdaneta", "vancouver",
    "vespucci", "villiers", "weddell", "wegener", "xuequin", "yermak", "zarco", "zheng",
)  # fmt: skip
ATTEMPTS = 6


def generate(is_free: Callable[[str], bool]) -> str:
    """A name that is free; after a few attempts with a number behind it."""
    for attempt in range(ATTEMPTS):
        name = f"{secrets.choice(TRAITS)}_{secrets.choice(SURNAMES)}"
        if attempt:
            name += str(secrets.randbelow(10**attempt))
        if is_free(name):
            return name
    return f"{secrets.choice(TRAITS)}_{secrets.token_hex(8)}"
