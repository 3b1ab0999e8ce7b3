"""Compiles the C programs of ``native/`` into ``src/sampan/_native/`` when the package is built or installed,
and makes the image that ships with it.

musl-gcc is preferred (smaller resident memory); plain ``gcc -static`` is used where it is missing.
"""

import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class NativeBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Runs ``make -C native`` and adds what it made to the wheel."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the programs; ``version`` is ``standard`` or ``editable`` and makes no difference."""
        native = Path(self.root) / "native"
        made = Path(self.root) / "src" / "sampan" / "_native"
        subprocess.run(["make", "--silent", "-C", str(native)], check=True)
        subprocess.run([sys.executable, native / "hello_image.py", made / "hello", made / "hello.tar"], check=True)
        build_data["pure_python"] = False
        build_data["infer_tag"] = False
        build_data["tag"] = "py3-none-linux_x86_64"
