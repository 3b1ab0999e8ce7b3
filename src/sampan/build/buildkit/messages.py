"""The messages of BuildKit's protocol that are used here, as one table, and the classes made of it.

A line (with those indented under it) is a message; its members are ``name number type``. ``*`` before a type repeats
it, ``<a,b>`` is a map. Enums are int32 (the same on the wire). Members that nothing here reads are left out: protobuf
skips what it does not know.

Source: buildkit api/services/control/control.proto, frontend/gateway/pb/gateway.proto, api/types/worker.proto,
session/*/*.proto; fsutil types/{wire,stat}.proto; containerd api/services/content/v1/content.proto.
"""

import re
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

SCHEMA = """
Timestamp              seconds 1 int64, nanos 2 int32
Empty
BytesMessage           data 1 bytes

Stat                   path 1 string, mode 2 uint32, uid 3 uint32, gid 4 uint32, size 5 int64, modTime 6 int64,
                       linkname 7 string, devmajor 8 int64, devminor 9 int64, xattrs 10 <string,bytes>
Packet                 type 1 int32, stat 2 Stat, ID 3 uint32, data 4 bytes
GetSecretRequest       ID 1 string, annotations 2 <string,string>
GetSecretResponse      data 1 bytes
CredentialsRequest     Host 1 string
CredentialsResponse    Username 1 string, Secret 2 string
CheckAgentRequest      ID 1 string
ReadContentRequest     digest 1 string, offset 2 int64, size 3 int64
ReadContentResponse    offset 1 int64, data 2 bytes
InfoContentRequest     digest 1 string
ContentInfo            digest 1 string, size 2 int64
InfoContentResponse    info 1 ContentInfo
WriteContentRequest    action 1 int32, ref 2 string, total 3 int64, expected 4 string, offset 5 int64, data 6 bytes
WriteContentResponse   action 1 int32, offset 4 int64, total 5 int64, digest 6 string

Vertex                 digest 1 string, inputs 2 *string, name 3 string, cached 4 bool, started 5 Timestamp,
                       completed 6 Timestamp, error 7 string
VertexStatus           ID 1 string, vertex 2 string, name 3 string, current 4 int64, total 5 int64, timestamp 6
                       Timestamp, started 7 Timestamp, completed 8 Timestamp
VertexLog              vertex 1 string, timestamp 2 Timestamp, stream 3 int64, msg 4 bytes
SourceInfo             filename 1 string, data 2 bytes, language 4 string
Position               line 1 int32, character 2 int32
Range                  start 1 Position, end 2 Position
VertexWarning          vertex 1 string, level 2 int64, short 3 bytes, detail 4 *bytes, url 5 string, info 6 SourceInfo,
                       ranges 7 *Range
StatusRequest          Ref 1 string
StatusResponse         vertexes 1 *Vertex, statuses 2 *VertexStatus, logs 3 *VertexLog, warnings 4 *VertexWarning

Exporter               Type 1 string, Attrs 2 <string,string>
CacheEntry             Type 1 string, Attrs 2 <string,string>
CacheOptions           Exports 4 *CacheEntry, Imports 5 *CacheEntry
ControlSolveRequest    Ref 1 string, ExporterDeprecated 3 string, ExporterAttrsDeprecated 4 <string,string>,
                       Session 5 string, Frontend 6 string, FrontendAttrs 7 <string,string>, Cache 8 CacheOptions,
                       Entitlements 9 *string, Internal 11 bool, Exporters 13 *Exporter
ControlSolveResponse   ExporterResponse 1 <string,string>
Platform               Architecture 1 string, OS 2 string, Variant 3 string
BuildkitVersion        package 1 string, version 2 string, revision 3 string
WorkerRecord           ID 1 string, Labels 2 <string,string>, platforms 3 *Platform, BuildkitVersion 5
                       BuildkitVersion
ListWorkersResponse    record 1 *WorkerRecord
InfoResponse           buildkitVersion 1 BuildkitVersion
UsageRecord            ID 1 string, Mutable 2 bool, InUse 3 bool, Size 4 int64, CreatedAt 6 Timestamp,
                       LastUsedAt 7 Timestamp, UsageCount 8 int64, Description 9 string, RecordType 10 string,
                       Shared 11 bool, Parents 12 *string
DiskUsageRequest       filter 1 *string, ageLimit 2 int64
DiskUsageResponse      record 1 *UsageRecord
PruneRequest           filter 1 *string, all 2 bool, keepDuration 3 int64, reservedSpace 4 int64, maxUsedSpace 5
                       int64, minFreeSpace 6 int64

Descriptor             media_type 1 string, digest 2 string, size 3 int64, annotations 5 <string,string>
BuildResultInfo        Attestations 2 *Descriptor
BuildHistoryRequest    ActiveOnly 1 bool, Ref 2 string, EarlyExit 3 bool, Filter 4 *string, Limit 5 int32
BuildHistoryRecord     Ref 1 string, Frontend 2 string, FrontendAttrs 3 <string,string>, Exporters 4 *Exporter, error 5
                       Status, CreatedAt 6 Timestamp, CompletedAt 7 Timestamp, ExporterResponse 9 <string,string>,
                       Result 10 BuildResultInfo, Results 11 <string,BuildResultInfo>, pinned 14 bool, numCachedSteps
                       15 int32, numTotalSteps 16 int32, numCompletedSteps 17 int32, numWarnings 19 int32
BuildHistoryEvent      type 1 int32, record 2 BuildHistoryRecord
UpdateBuildHistoryRequest Ref 1 string, Pinned 2 bool, Delete 3 bool, Finalize 4 bool

APICap                 ID 1 string, Enabled 2 bool
PongResponse           FrontendAPICaps 1 *APICap, LLBCaps 2 *APICap, Workers 3 *WorkerRecord
OpInput                digest 1 string, index 2 int64
SourceOp               identifier 1 string, attrs 2 <string,string>
FileActionCopy         src 1 string, dest 2 string, attemptUnpackDockerCompatibility 7 bool
FileAction             input 1 int64, secondaryInput 2 int64, output 3 int64, copy 4 FileActionCopy
FileOp                 actions 2 *FileAction
Op                     inputs 1 *OpInput, source 3 SourceOp, file 4 FileOp
OpMetadata             description 2 <string,string>
Definition             Def 1 *bytes, metadata 2 <string,OpMetadata>
Ref                    id 1 string, def 2 Definition
EvaluateRequest        Ref 1 string
Result                 refDeprecated 1 string, ref 3 Ref, metadata 10 <string,bytes>
Detail                 type_url 1 string, value 2 bytes
Status                 code 1 int32, message 2 string, details 3 *Detail
ReturnRequest          result 1 Result, error 2 Status
SolveRequest           Definition 1 Definition, Frontend 2 string, FrontendOpt 3 <string,string>, Final 10 bool,
                       CacheImports 12 *CacheEntry, FrontendInputs 13 <string,Definition>, Evaluate 14 bool
FileRange              Offset 1 int64, Length 2 int64
ReadFileRequest        Ref 1 string, FilePath 2 string, Range 3 FileRange
ReadFileResponse       Data 1 bytes
ReadDirRequest         Ref 1 string, DirPath 2 string, IncludePattern 3 string
ReadDirResponse        entries 1 *Stat
StatFileRequest        Ref 1 string, Path 2 string
StatFileResponse       stat 1 Stat
SolveResponse          ref 1 string, result 3 Result
"""

_TYPES = {
    "string": descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
    "bytes": descriptor_pb2.FieldDescriptorProto.TYPE_BYTES,
    "bool": descriptor_pb2.FieldDescriptorProto.TYPE_BOOL,
    "int32": descriptor_pb2.FieldDescriptorProto.TYPE_INT32,
    "int64": descriptor_pb2.FieldDescriptorProto.TYPE_INT64,
    "uint32": descriptor_pb2.FieldDescriptorProto.TYPE_UINT32,
}
_MESSAGE = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE
_REPEATED = descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED
_OPTIONAL = descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL


def _add_field(message: Any, name: str, number: str, kind: str) -> None:
    field = message.field.add(name=name, number=int(number), label=_OPTIONAL)
    if kind.startswith("<"):
        key, value = kind[1:-1].split("|")
        entry = message.nested_type.add(name=f"{name[0].upper()}{name[1:]}Entry")
        entry.options.map_entry = True
        _add_field(entry, "key", "1", key)
        _add_field(entry, "value", "2", value)
        field.label, field.type, field.type_name = _REPEATED, _MESSAGE, f".sampan.{message.name}.{entry.name}"
        return
    if kind.startswith("*"):
        field.label, kind = _REPEATED, kind[1:]
    if kind in _TYPES:
        field.type = _TYPES[kind]
    else:
        field.type, field.type_name = _MESSAGE, f".sampan.{kind}"


def _classes() -> dict[str, Any]:
    """A class for each line of the schema."""
    file = descriptor_pb2.FileDescriptorProto(name="sampan.proto", package="sampan", syntax="proto3")
    for line in re.sub(r"\n +", " ", SCHEMA).split("\n"):
        head, _, members = line.partition(" ")
        if not head:
            continue
        message = file.message_type.add(name=head)
        for member in members.replace("<string,", "<string|").split(","):
            if member.strip():
                _add_field(message, *member.split())
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        message.name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"sampan.{message.name}"))
        for message in file.message_type
    }


CLASSES = _classes()
"""By name. Messages are built dynamically, so the checker knows them as ``Any``."""


def __getattr__(name: str) -> Any:
    try:
        return CLASSES[name]
    except KeyError:
        raise AttributeError(name) from None
