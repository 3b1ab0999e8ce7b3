"""Flags of ``run`` → the body of ContainerCreate.

A table for what maps one to one, a few small functions for what has a grammar (ports, sizes, env files).
Other values travel as they are: the daemon checks them and answers in Docker's words.
"""

import os
import re
from pathlib import Path
from typing import Any

from sampan.cli.grammar import Call, Flag, UsageError

FLAGS = (
    Flag("detach", "d", "bool", "Run container in background and print container ID"),
    Flag("interactive", "i", "bool", "Keep STDIN open even if not attached"),
    Flag("tty", "t", "bool", "Allocate a pseudo-TTY"),
    Flag("rm", "", "bool", "Automatically remove the container when it exits"),
    Flag("name", "", "string", "Assign a name to the container"),
    Flag("env", "e", "list", "Set environment variables"),
    Flag("env-file", "", "list", "Read in a file of environment variables"),
    Flag("label", "l", "list", "Set meta data on a container"),
    Flag("volume", "v", "list", "Bind mount a volume"),
    Flag("tmpfs", "", "list", "Mount a tmpfs directory"),
    Flag("publish", "p", "list", "Publish a container's port(s) to the host"),
    Flag("publish-all", "P", "bool", "Publish all exposed ports to random ports"),
    Flag("network", "", "string", "Connect a container to a network"),
    Flag("hostname", "h", "string", "Container host name"),
    Flag("add-host", "", "list", "Add a custom host-to-IP mapping (host:ip)"),
    Flag("dns", "", "list", "Set custom DNS servers"),
    Flag("user", "u", "string", "Username or UID (format: <name|uid>[:<group|gid>])"),
    Flag("workdir", "w", "string", "Working directory inside the container"),
    Flag("entrypoint", "", "string", "Overwrite the default ENTRYPOINT of the image"),
    Flag("init", "", "bool", "Run an init inside the container that forwards signals and reaps processes"),
    Flag("read-only", "", "bool", "Mount the container's root filesystem as read only"),
    Flag("privileged", "", "bool", "Give extended privileges to this container"),
    Flag("cap-add", "", "list", "Add Linux capabilities"),
    Flag("cap-drop", "", "list", "Drop Linux capabilities"),
    Flag("security-opt", "", "list", "Security options"),
    Flag("memory", "m", "string", "Memory limit"),
    Flag("cpus", "", "string", "Number of CPUs"),
    Flag("pids-limit", "", "int", "Tune container pids limit (-1 for unlimited)"),
    Flag("restart", "", "string", "Restart policy to apply when a container exits"),
    Flag("runtime", "", "string", "Runtime to use for this container"),
    Flag("pull", "", "string", 'Pull image before running ("always", "missing", "never")'),
)

UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def size(text: str) -> int:
    """Bytes of ``256m``; raises UsageError for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([bkmgt]?)(?:ib|b)?", text.strip().lower())
    if match is None:
        raise UsageError(f"invalid size: '{text}'")
    return int(float(match[1]) * UNITS[match[2]])


def environment(call: Call) -> list[str]:
    """``-e`` and ``--env-file`` in Docker's order: files first; a name alone takes our own value."""
    given = [line for name in call["env-file"] for line in env_file(Path(name))] + call["env"]
    return [
        entry if "=" in entry else f"{entry}={os.environ[entry]}"
        for entry in given
        if "=" in entry or entry in os.environ
    ]


def env_file(path: Path) -> list[str]:
    """Lines of an env file that say something; raises UsageError if it cannot be read."""
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise UsageError(f"open {path}: {error.strerror}") from None
    return [line.lstrip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def ports(published: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """``-p [ip:][host:]container[/proto]`` → (ExposedPorts, PortBindings); ranges must be equally long."""
    exposed: dict[str, Any] = {}
    bindings: dict[str, Any] = {}
    for text in published:
        rest, _, protocol = text.partition("/")
        address, host, container = split_port(rest)
        first, last = port_range(container, text)
        host_first, host_last = port_range(host, text) if host else (0, 0)
        if host and host_last - host_first != last - first:
            raise UsageError(f"invalid ranges specified for container and host Ports: {container} and {host}")
        for offset in range(last - first + 1):
            key = f"{first + offset}/{protocol or 'tcp'}"
            exposed[key] = {}
            host_port = str(host_first + offset) if host else ""
            bindings.setdefault(key, []).append({"HostIp": address, "HostPort": host_port})
    return exposed, bindings


def split_port(text: str) -> tuple[str, str, str]:
    """``[::1]:80:8080`` → (address, host ports, container ports)."""
    if text.startswith("["):
        address, _, rest = text[1:].partition("]:")
        host, _, container = rest.rpartition(":")
        return address, host, container
    *front, container = text.split(":")
    host = front.pop() if front else ""
    return ":".join(front), host, container


def port_range(text: str, whole: str) -> tuple[int, int]:
    """``80`` or ``80-90``; raises UsageError naming the whole flag."""
    first, _, last = text.partition("-")
    if not first.isdigit() or not (last or first).isdigit() or not 0 < int(first) <= int(last or first) <= 65535:
        raise UsageError(f"invalid containerPort: {text} in {whole}")
    return int(first), int(last or first)


def labels(given: list[str]) -> dict[str, str]:
    """``key=value`` or ``key``."""
    return {key: value for key, _, value in (label.partition("=") for label in given)}


def create_body(call: Call, image: str, command: list[str]) -> dict[str, Any]:
    """Body of ContainerCreate for this command line."""
    exposed, bindings = ports(call["publish"])
    attached = not call["detach"]
    body: dict[str, Any] = {
        "Image": image,
        "Cmd": command or None,
        "Env": environment(call),
        "Labels": labels(call["label"]),
        "Hostname": call["hostname"],
        "User": call["user"],
        "WorkingDir": call["workdir"],
        "Tty": call["tty"],
        "OpenStdin": call["interactive"],
        "StdinOnce": call["interactive"] and attached,
        "AttachStdin": call["interactive"] and attached,
        "AttachStdout": attached,
        "AttachStderr": attached,
        "ExposedPorts": exposed,
        "HostConfig": host_config(call, bindings),
    }
    if "entrypoint" in call.given:
        body["Entrypoint"] = [call["entrypoint"]]
    return body


def host_config(call: Call, bindings: dict[str, Any]) -> dict[str, Any]:
    """The part of the body that is the host's business."""
    policy, _, retries = call["restart"].partition(":")
    config: dict[str, Any] = {
        "AutoRemove": call["rm"],
        "Binds": call["volume"],
        "Tmpfs": {path: options for path, _, options in (entry.partition(":") for entry in call["tmpfs"])},
        "PortBindings": bindings,
        "PublishAllPorts": call["publish-all"],
        "NetworkMode": call["network"] or "default",
        "ExtraHosts": call["add-host"],
        "Dns": call["dns"],
        "ReadonlyRootfs": call["read-only"],
        "Privileged": call["privileged"],
        "CapAdd": call["cap-add"],
        "CapDrop": call["cap-drop"],
        "SecurityOpt": call["security-opt"],
        "PidsLimit": call["pids-limit"],
        "RestartPolicy": {"Name": policy or "no", "MaximumRetryCount": int(retries or 0)},
        "Runtime": call["runtime"],
    }
    if call["init"]:
        config["Init"] = True
    if call["memory"]:
        config["Memory"] = size(call["memory"])
    if call["cpus"]:
        config["NanoCpus"] = int(float(call["cpus"]) * 1e9)
    return config
