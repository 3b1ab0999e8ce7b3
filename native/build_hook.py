"""Compiles the C programs of ``native/`` into ``src/sampan/_native/`` when the package is built or installed.

musl-gcc is preferred (smaller resident memory); plain ``gcc -static`` is used where it is missing.
"""

import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class NativeBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Runs ``make -C native`` and adds what it made to the wheel."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the programs; ``version`` is ``standard`` or ``editable`` and makes no difference."""
        native = Path(self.root) / "native"
        subprocess.run(["make", "--silent", "-C", str(native)], check=True)
        build_data["pure_python"] = False
        build_data["infer_tag"] = False
        build_data["tag"] = "py3-none-linux_x86_64"
