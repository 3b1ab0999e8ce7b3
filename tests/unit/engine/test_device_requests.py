"""Device requests become names of CDI devices."""

import json
from pathlib import Path

import pytest

from sampan.api.host_config import DeviceRequest
from sampan.engine.device_requests import names_of, with_devices
from sampan.errors import InvalidParameter, Unsupported
from sampan.oci import cdi
from sampan.oci.runtime_spec import Process, Spec

KIND = "vendor.com/gpu"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    devices = [{"name": name, "containerEdits": {"env": [f"GPU_{name}=1"]}} for name in ("0", "1", "all")]
    file = {"cdiVersion": "0.6.0", "kind": KIND, "devices": devices}
    (tmp_path / "gpu.json").write_text(json.dumps(file))
    return tmp_path


@pytest.mark.parametrize(
    ("request_", "names"),
    [
        (DeviceRequest(driver="cdi", device_ids=[f"{KIND}=1"]), ["1"]),
        (DeviceRequest(count=-1, capabilities=[["gpu"]]), ["all"]),
        (DeviceRequest(count=1, capabilities=[["gpu"]]), ["0"]),
        (DeviceRequest(driver="vendor", device_ids=["1"], capabilities=[["gpu", "compute"]]), ["1"]),
    ],
)
def test_a_request_names_devices(directory: Path, request_: DeviceRequest, names: list[str]) -> None:
    assert names_of(request_, cdi.scan([str(directory)])) == [f"{KIND}={name}" for name in names]


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        (DeviceRequest(driver="other", capabilities=[["gpu"]]), r'"other" with capabilities: \[\[gpu\]\]'),
        (DeviceRequest(capabilities=[["tpu", "x"]]), r'could not select device driver "" with .*: \[\[tpu x\]\]'),
        (DeviceRequest(count=3, capabilities=[["gpu"]]), "could not select 3 devices"),
        (DeviceRequest(driver="cdi", device_ids=["a.b/c=d"]), "unresolvable CDI devices a.b/c=d"),
    ],
)
def test_what_cannot_be_had_is_said(directory: Path, request_: DeviceRequest, told: str) -> None:
    with pytest.raises(InvalidParameter, match=told):
        with_devices(Spec(process=Process()), [request_], [str(directory)])


def test_a_hook_that_no_one_would_run_is_refused(tmp_path: Path) -> None:
    edits = {"hooks": [{"hookName": "poststop", "path": "/bin/true"}]}
    file = {"cdiVersion": "0.6.0", "kind": KIND, "devices": [{"name": "0", "containerEdits": edits}]}
    (tmp_path / "gpu.json").write_text(json.dumps(file))
    with pytest.raises(Unsupported, match="createContainer"):
        with_devices(Spec(process=Process()), [DeviceRequest(driver="cdi", device_ids=[f"{KIND}=0"])], [str(tmp_path)])
