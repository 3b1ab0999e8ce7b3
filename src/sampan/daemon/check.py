"""``sampan system``: looks after a data root while no daemon uses it.

    sampan system check [--data-root DIR] [--repair]      finds damage, and repairs what can be repaired
    sampan system clean [--data-root DIR]                 takes away the table and bridges of a daemon that is gone

Exit status 0: sound, or made so; 1: damage that stays, or containers that run; 2: the words were not understood.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from sampan.api.networks import NetworkSummary
from sampan.build.cache import Entry
from sampan.config import Config
from sampan.daemon.ownership import locked
from sampan.engine.container import Record
from sampan.engine.exec_records import ExecRecord
from sampan.engine.volumes import VolumeRecord
from sampan.errors import Conflict, EngineError
from sampan.network.leftovers import take_away
from sampan.storage.check import Finding, Types, check, require_format
from sampan.storage.database import Database
from sampan.storage.pins import Pin
from sampan.storage.records import Records

RECORDS: Types = {
    "container": Record,
    "exec": ExecRecord,
    "network": NetworkSummary,
    "volume": VolumeRecord,
    "pin": Pin,
    "build-cache": Entry,
}
"""What the engine reads its records as."""


def main(arguments: Sequence[str], program: str = "sampan system") -> int:
    """Run the command line after ``sampan system``; returns the exit status."""
    words = make_parser(program).parse_args(list(arguments))
    root = Path(words.data_root)
    try:
        require_format(root)
        with ExitStack() as held:
            hold(root, held)
            return clean(root) if words.command == "clean" else report(check(root, RECORDS), root, words.repair)
    except (EngineError, OSError) as error:
        print(f"{program} {words.command}: {error}", file=sys.stderr)
        return 1


def clean(root: Path) -> int:
    """Take away what the root's daemon left on the host, and say what it was."""
    database = Database(root / "engine.db")
    try:
        summaries = [summary for _, summary in Records(database, "network", NetworkSummary).all()]
    finally:
        database.close()
    for removed in take_away(str(root), summaries):
        print(f"removed: {removed}")
    return 0


def make_parser(program: str) -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog=program, description="Look after a data root.", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True)
    checking = commands.add_parser("check", help="find (and repair) damage in a data root that no daemon uses")
    cleaning = commands.add_parser("clean", help="take away the firewall table and bridges of a daemon that is gone")
    for one in (checking, cleaning):
        one.add_argument("--data-root", default=Config().data_root, metavar="DIR", help="default %(default)s")
    checking.add_argument("--repair", action="store_true", help="drop what is damaged or left over")
    return parser


def hold(root: Path, held: ExitStack) -> None:
    """Keep daemons from the data root; raises Conflict while one uses it."""
    try:
        held.enter_context(locked(root / "lock"))
    except Conflict:
        raise Conflict(f"a daemon is using {root}: stop it first (containers go on)") from None


def report(findings: Iterator[Finding], root: Path, repairing: bool) -> int:
    """Print each finding, repairing it if asked; returns the exit status."""
    seen = remaining = 0
    for finding in findings:
        seen += 1
        repaired = False
        if repairing and finding.repair is not None:
            finding.repair()
            repaired = True
        remaining += finding.damage and not repaired
        print(f"{'damaged' if finding.damage else 'left over'}: {finding.problem}")
        print(f"  {'done' if repaired else 'to do'}: {finding.advice}")
    print(f"{root}: {told(seen, remaining, repairing)}")
    return 1 if remaining else 0


def told(seen: int, remaining: int, repairing: bool) -> str:
    """The last line."""
    if not seen:
        return "sound"
    if remaining:
        rest = "need your decision" if repairing else "damaged; --repair drops what can be had again"
        return f"{seen} found, {remaining} {rest}"
    return f"{seen} found, " + ("all repaired" if repairing else "no damage")
