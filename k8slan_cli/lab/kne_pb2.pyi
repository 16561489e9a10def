from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Vendor(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    UNKNOWN: _ClassVar[Vendor]
    HOST: _ClassVar[Vendor]
    ARISTA: _ClassVar[Vendor]
    CISCO: _ClassVar[Vendor]
    JUNIPER: _ClassVar[Vendor]
    KEYSIGHT: _ClassVar[Vendor]
    FRR: _ClassVar[Vendor]
    QUAGGA: _ClassVar[Vendor]
    GOBGP: _ClassVar[Vendor]
    NOKIA: _ClassVar[Vendor]
    OPENCONFIG: _ClassVar[Vendor]
    ALPINE: _ClassVar[Vendor]
    DRIVENETS: _ClassVar[Vendor]
    CIENA: _ClassVar[Vendor]
UNKNOWN: Vendor
HOST: Vendor
ARISTA: Vendor
CISCO: Vendor
JUNIPER: Vendor
KEYSIGHT: Vendor
FRR: Vendor
QUAGGA: Vendor
GOBGP: Vendor
NOKIA: Vendor
OPENCONFIG: Vendor
ALPINE: Vendor
DRIVENETS: Vendor
CIENA: Vendor

class Topology(_message.Message):
    __slots__ = ("name", "nodes", "links")
    NAME_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    LINKS_FIELD_NUMBER: _ClassVar[int]
    name: str
    nodes: _containers.RepeatedCompositeFieldContainer[Node]
    links: _containers.RepeatedCompositeFieldContainer[Link]
    def __init__(self, name: _Optional[str] = ..., nodes: _Optional[_Iterable[_Union[Node, _Mapping]]] = ..., links: _Optional[_Iterable[_Union[Link, _Mapping]]] = ...) -> None: ...

class Node(_message.Message):
    __slots__ = ("name", "type", "labels", "config", "services", "constraints", "vendor", "model", "version", "os", "interfaces", "host_constraints")
    class Type(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        UNKNOWN: _ClassVar[Node.Type]
        HOST: _ClassVar[Node.Type]
        ARISTA_CEOS: _ClassVar[Node.Type]
        JUNIPER_CEVO: _ClassVar[Node.Type]
        CISCO_CXR: _ClassVar[Node.Type]
        QUAGGA: _ClassVar[Node.Type]
        FRR: _ClassVar[Node.Type]
        JUNIPER_VMX: _ClassVar[Node.Type]
        CISCO_CSR: _ClassVar[Node.Type]
        NOKIA_SRL: _ClassVar[Node.Type]
        IXIA_TG: _ClassVar[Node.Type]
        GOBGP: _ClassVar[Node.Type]
        CISCO_XRD: _ClassVar[Node.Type]
        CISCO_E8000: _ClassVar[Node.Type]
    UNKNOWN: Node.Type
    HOST: Node.Type
    ARISTA_CEOS: Node.Type
    JUNIPER_CEVO: Node.Type
    CISCO_CXR: Node.Type
    QUAGGA: Node.Type
    FRR: Node.Type
    JUNIPER_VMX: Node.Type
    CISCO_CSR: Node.Type
    NOKIA_SRL: Node.Type
    IXIA_TG: Node.Type
    GOBGP: Node.Type
    CISCO_XRD: Node.Type
    CISCO_E8000: Node.Type
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class ServicesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: Service
        def __init__(self, key: _Optional[int] = ..., value: _Optional[_Union[Service, _Mapping]] = ...) -> None: ...
    class ConstraintsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class InterfacesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Interface
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Interface, _Mapping]] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    SERVICES_FIELD_NUMBER: _ClassVar[int]
    CONSTRAINTS_FIELD_NUMBER: _ClassVar[int]
    VENDOR_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    OS_FIELD_NUMBER: _ClassVar[int]
    INTERFACES_FIELD_NUMBER: _ClassVar[int]
    HOST_CONSTRAINTS_FIELD_NUMBER: _ClassVar[int]
    name: str
    type: Node.Type
    labels: _containers.ScalarMap[str, str]
    config: Config
    services: _containers.MessageMap[int, Service]
    constraints: _containers.ScalarMap[str, str]
    vendor: Vendor
    model: str
    version: str
    os: str
    interfaces: _containers.MessageMap[str, Interface]
    host_constraints: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., type: _Optional[_Union[Node.Type, str]] = ..., labels: _Optional[_Mapping[str, str]] = ..., config: _Optional[_Union[Config, _Mapping]] = ..., services: _Optional[_Mapping[int, Service]] = ..., constraints: _Optional[_Mapping[str, str]] = ..., vendor: _Optional[_Union[Vendor, str]] = ..., model: _Optional[str] = ..., version: _Optional[str] = ..., os: _Optional[str] = ..., interfaces: _Optional[_Mapping[str, Interface]] = ..., host_constraints: _Optional[_Iterable[str]] = ...) -> None: ...

class Interface(_message.Message):
    __slots__ = ("name", "int_name", "mtu", "peer_name", "peer_int_name", "uid", "group")
    NAME_FIELD_NUMBER: _ClassVar[int]
    INT_NAME_FIELD_NUMBER: _ClassVar[int]
    MTU_FIELD_NUMBER: _ClassVar[int]
    PEER_NAME_FIELD_NUMBER: _ClassVar[int]
    PEER_INT_NAME_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    name: str
    int_name: str
    mtu: int
    peer_name: str
    peer_int_name: str
    uid: int
    group: str
    def __init__(self, name: _Optional[str] = ..., int_name: _Optional[str] = ..., mtu: _Optional[int] = ..., peer_name: _Optional[str] = ..., peer_int_name: _Optional[str] = ..., uid: _Optional[int] = ..., group: _Optional[str] = ...) -> None: ...

class Link(_message.Message):
    __slots__ = ("a_node", "a_int", "z_node", "z_int")
    A_NODE_FIELD_NUMBER: _ClassVar[int]
    A_INT_FIELD_NUMBER: _ClassVar[int]
    Z_NODE_FIELD_NUMBER: _ClassVar[int]
    Z_INT_FIELD_NUMBER: _ClassVar[int]
    a_node: str
    a_int: str
    z_node: str
    z_int: str
    def __init__(self, a_node: _Optional[str] = ..., a_int: _Optional[str] = ..., z_node: _Optional[str] = ..., z_int: _Optional[str] = ...) -> None: ...

class Config(_message.Message):
    __slots__ = ("command", "args", "image", "env", "entry_command", "config_path", "config_file", "sleep", "cert", "data", "file", "init_image")
    class EnvEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    ARGS_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    ENV_FIELD_NUMBER: _ClassVar[int]
    ENTRY_COMMAND_FIELD_NUMBER: _ClassVar[int]
    CONFIG_PATH_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FILE_FIELD_NUMBER: _ClassVar[int]
    SLEEP_FIELD_NUMBER: _ClassVar[int]
    CERT_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    INIT_IMAGE_FIELD_NUMBER: _ClassVar[int]
    command: _containers.RepeatedScalarFieldContainer[str]
    args: _containers.RepeatedScalarFieldContainer[str]
    image: str
    env: _containers.ScalarMap[str, str]
    entry_command: str
    config_path: str
    config_file: str
    sleep: int
    cert: Certificate
    data: bytes
    file: str
    init_image: str
    def __init__(self, command: _Optional[_Iterable[str]] = ..., args: _Optional[_Iterable[str]] = ..., image: _Optional[str] = ..., env: _Optional[_Mapping[str, str]] = ..., entry_command: _Optional[str] = ..., config_path: _Optional[str] = ..., config_file: _Optional[str] = ..., sleep: _Optional[int] = ..., cert: _Optional[_Union[Certificate, _Mapping]] = ..., data: _Optional[bytes] = ..., file: _Optional[str] = ..., init_image: _Optional[str] = ...) -> None: ...

class Certificate(_message.Message):
    __slots__ = ("self_signed",)
    SELF_SIGNED_FIELD_NUMBER: _ClassVar[int]
    self_signed: SelfSigned
    def __init__(self, self_signed: _Optional[_Union[SelfSigned, _Mapping]] = ...) -> None: ...

class SelfSigned(_message.Message):
    __slots__ = ("cert_name", "key_name", "key_size", "common_name")
    CERT_NAME_FIELD_NUMBER: _ClassVar[int]
    KEY_NAME_FIELD_NUMBER: _ClassVar[int]
    KEY_SIZE_FIELD_NUMBER: _ClassVar[int]
    COMMON_NAME_FIELD_NUMBER: _ClassVar[int]
    cert_name: str
    key_name: str
    key_size: int
    common_name: str
    def __init__(self, cert_name: _Optional[str] = ..., key_name: _Optional[str] = ..., key_size: _Optional[int] = ..., common_name: _Optional[str] = ...) -> None: ...

class Service(_message.Message):
    __slots__ = ("name", "inside", "outside", "inside_ip", "outside_ip", "node_port")
    NAME_FIELD_NUMBER: _ClassVar[int]
    INSIDE_FIELD_NUMBER: _ClassVar[int]
    OUTSIDE_FIELD_NUMBER: _ClassVar[int]
    INSIDE_IP_FIELD_NUMBER: _ClassVar[int]
    OUTSIDE_IP_FIELD_NUMBER: _ClassVar[int]
    NODE_PORT_FIELD_NUMBER: _ClassVar[int]
    name: str
    inside: int
    outside: int
    inside_ip: str
    outside_ip: str
    node_port: int
    def __init__(self, name: _Optional[str] = ..., inside: _Optional[int] = ..., outside: _Optional[int] = ..., inside_ip: _Optional[str] = ..., outside_ip: _Optional[str] = ..., node_port: _Optional[int] = ...) -> None: ...
