"""CDI files: reading, precedence, conflicts, and what a device changes in a spec."""

import json
from pathlib import Path
from typing import Any

import pytest

from sampan.errors import InvalidParameter
from sampan.oci import cdi
from sampan.oci.runtime_spec import Process, Spec

GPU = {
    "cdiVersion": "0.6.0",
    "kind": "vendor.com/gpu",
    "containerEdits": {"env": ["DRIVER=1"]},
    "devices": [
        {
            "name": "0",
            "containerEdits": {
                "env": ["GPU=0"],
                "deviceNodes": [{"path": "/dev/gpu0", "hostPath": "/dev/null"}],
                "mounts": [{"hostPath": "/lib/gpu", "containerPath": "/usr/lib/gpu"}],
                "hooks": [{"hookName": "createContainer", "path": "/bin/ldconfig", "args": ["ldconfig"]}],
                "additionalGids": [44],
            },
        },
        {"name": "1", "containerEdits": {"env": ["GPU=1"]}},
    ],
}


def write(directory: Path, name: str, content: Any) -> None:
    directory.mkdir(exist_ok=True)
    (directory / name).write_text(content if isinstance(content, str) else json.dumps(content))


def test_a_device_brings_its_edits_and_those_of_its_file_once(tmp_path: Path) -> None:
    write(tmp_path, "gpu.json", GPU)
    spec = Spec(process=Process(env=["GPU=none", "HOME=/"]))
    edited = cdi.scan([str(tmp_path)]).edit(spec, ["vendor.com/gpu=0", "vendor.com/gpu=1"])
    assert edited.process and edited.linux and edited.linux.resources and edited.hooks
    assert list(edited.process.env) == ["HOME=/", "DRIVER=1", "GPU=1"]
    assert [(node.path, node.type, node.major, node.minor) for node in edited.linux.devices] == [
        ("/dev/gpu0", "c", 1, 3)
    ]
    assert [(rule.major, rule.minor, rule.access) for rule in edited.linux.resources.devices] == [(1, 3, "rwm")]
    assert edited.mounts[0].source == "/lib/gpu"
    assert edited.hooks.create_container[0].path == "/bin/ldconfig"
    assert list(edited.process.user.additional_gids) == [44]


def test_an_unknown_device_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameter, match=r"unresolvable CDI devices vendor\.com/gpu=9"):
        cdi.scan([str(tmp_path / "missing")]).edit(Spec(), ["vendor.com/gpu=9"])


def test_a_later_directory_overrides_an_earlier_one(tmp_path: Path) -> None:
    write(tmp_path / "a", "gpu.json", GPU)
    other = {**GPU, "containerEdits": {}, "devices": [{"name": "0", "containerEdits": {"env": ["GPU=other"]}}]}
    write(tmp_path / "b", "gpu.yaml", json.dumps(other))
    edited = cdi.scan([str(tmp_path / "a"), str(tmp_path / "b")]).edit(Spec(), ["vendor.com/gpu=0"])
    assert edited.process and list(edited.process.env) == ["GPU=other"]


def test_a_device_defined_twice_on_one_level_cannot_be_used(tmp_path: Path) -> None:
    write(tmp_path, "a.json", GPU)
    write(tmp_path, "b.json", GPU)
    registry = cdi.scan([str(tmp_path)])
    assert not registry.devices
    assert any("more than once" in warning for warning in registry.warnings)


def device(**fields: Any) -> str:
    return json.dumps({"cdiVersion": "0.6.0", "kind": "v.com/c", "devices": [fields]})


WRONG_HOOK = {"hooks": [{"hookName": "never", "path": "/bin/true"}]}


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"cdiVersion": "0.6.0", "kind": "novendor"}',
        device(name="a/b"),
        device(name="a", containerEdits=WRONG_HOOK),
    ],
)
def test_a_broken_file_is_a_warning_that_names_it(tmp_path: Path, content: str) -> None:
    write(tmp_path, "broken.json", content)
    assert "broken.json" in cdi.scan([str(tmp_path)]).warnings[0]


def test_a_node_that_is_no_device_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameter, match="not a device node"):
        cdi.apply(Spec(), cdi.Edits(device_nodes=[cdi.DeviceNode(path="/dev/x", host_path="/etc/hostname")]))
