"""What the worker's seccomp profile lets through: what Docker's own does, and the namespaces that the sandbox needs."""

import json
import re
from typing import Any

import pytest

from tests.deploy.conftest import DEPLOY

PROFILE = json.loads((DEPLOY / "seccomp-worker.json").read_text())
RULES: list[dict[str, Any]] = PROFILE["syscalls"]
FREE = {name for rule in RULES for name in rule["names"] if not rule.get("args")}

NAMESPACES = {"clone", "clone3", "mount", "pivot_root", "setns", "umount", "umount2", "unshare"}
SANDBOX = {"prctl", "seccomp", "capset", "execve", "landlock_restrict_self"}
ORDINARY = {"openat", "read", "write", "mmap", "futex", "epoll_wait", "statx", "renameat2", "inotify_add_watch", "rseq"}
# What could reach the kernel or the host whatever namespace one is in; none is in Docker's own profile either.
FORBIDDEN = {
    "acct",
    "add_key",
    "bpf",
    "create_module",
    "delete_module",
    "finit_module",
    "fsopen",
    "init_module",
    "io_uring_setup",
    "ioperm",
    "iopl",
    "kexec_file_load",
    "kexec_load",
    "keyctl",
    "lookup_dcookie",
    "move_mount",
    "nfsservctl",
    "open_by_handle_at",
    "open_tree",
    "perf_event_open",
    "quotactl",
    "reboot",
    "request_key",
    "settimeofday",
    "swapoff",
    "swapon",
    "syslog",
    "userfaultfd",
    "vhangup",
}


def test_what_is_not_named_is_refused_with_eperm() -> None:
    assert (PROFILE["defaultAction"], PROFILE["defaultErrnoRet"]) == ("SCMP_ACT_ERRNO", 1)


def test_every_rule_allows_named_calls_and_has_no_field_that_docker_does_not_know() -> None:
    for rule in RULES:
        assert rule["action"] == "SCMP_ACT_ALLOW"
        assert set(rule) <= {"comment", "names", "action", "args"}
        assert all(re.fullmatch(r"[a-z0-9_]+", name) for name in rule["names"])
    assert set(PROFILE) == {"defaultAction", "defaultErrnoRet", "archMap", "syscalls"}


def test_no_call_is_named_twice() -> None:
    names = [name for rule in RULES for name in rule["names"] if not rule.get("args")]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", sorted(NAMESPACES | SANDBOX | ORDINARY))
def test_what_the_sandbox_and_ordinary_programs_need_is_allowed(name: str) -> None:
    assert name in FREE


@pytest.mark.parametrize("name", sorted(FORBIDDEN))
def test_what_reaches_the_kernel_is_not_allowed(name: str) -> None:
    assert not [rule for rule in RULES if name in rule["names"]]


def test_sockets_to_the_host_of_a_virtual_machine_are_not_allowed() -> None:
    (rule,) = (rule for rule in RULES if "socket" in rule["names"])
    assert rule["args"] == [{"index": 0, "value": 40, "op": "SCMP_CMP_NE"}]


def test_both_usual_architectures_are_mapped() -> None:
    assert {entry["architecture"] for entry in PROFILE["archMap"]} == {"SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"}
