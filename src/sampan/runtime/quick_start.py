"""msgspec imported without what it does not need: imported first, it takes a quarter off a command's start.

msgspec asks ``typing_extensions`` for one function that ``typing`` has as well; that module, present wherever another
package depends on it, costs as much as the interpreter itself (it imports ``inspect``, ``ast``, ``dis``).
"""

import sys

# An import of a module that is None fails, and ``typing`` is taken.
if "msgspec" not in sys.modules and "typing_extensions" not in sys.modules:
    sys.modules["typing_extensions"] = None  # type: ignore[assignment]
    try:
        import msgspec  # noqa: F401
    finally:
        del sys.modules["typing_extensions"]
