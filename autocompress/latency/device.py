"""Which device this is, as far as its speed is concerned."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from autocompress.errors import TableError

_CPUINFO = Path("/proc/cpuinfo")
# Instruction sets that inference kernels are chosen by, weakest first.
_TELLING_ISA = (
    "neon", "asimddp", "i8mm", "sve", "sve2", "sse4_1", "avx", "avx2", "fma", "avx_vnni", "avx512f", "avx512bw",
    "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16",
)  # fmt: skip
_VENDORS = {"authenticamd": "amd", "genuineintel": "intel", "0x41": "arm", "0x61": "apple", "0xc0": "ampere"}


@dataclass(frozen=True)
class Device:
    """Identified hardware.

    Attributes:
        vendor: "amd", "intel", "arm", ...
        microarchitecture: family and model numbers as the processor reports them ("25-17").
        name: the processor's marketing name; for people, not compared.
        isa: instruction sets that inference kernels are chosen by, sorted.
        cores: processors this process may use; for people, not compared.
    """

    vendor: str
    microarchitecture: str
    name: str
    isa: tuple[str, ...]
    cores: int

    @property
    def fingerprint(self) -> str:
        """What must agree for two devices to share a latency table."""
        return f"{self.vendor}-{self.microarchitecture}-{'+'.join(self.isa) or 'baseline'}"

    @property
    def slug(self) -> str:
        """Short name for files: vendor, microarchitecture and the strongest instruction set."""
        strongest = max(self.isa, key=_strength, default="baseline").replace("_", "")
        return re.sub(r"[^a-z0-9-]+", "", f"{self.vendor}-{self.microarchitecture}-{strongest}".lower())

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {**asdict(self), "isa": list(self.isa)}

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Device:
        """Inverse of ``to_dict``.

        Raises:
            TableError: when ``row`` does not describe a device.
        """
        try:
            isa = row["isa"]
            if not isinstance(isa, list):
                raise TypeError("isa is no list")
            return cls(
                str(row["vendor"]),
                str(row["microarchitecture"]),
                str(row["name"]),
                tuple(sorted(str(flag) for flag in isa)),
                int(row["cores"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise TableError(f"the device in a latency table's header is malformed: {error!r}") from error


def identify_device(cpuinfo: str | None = None) -> Device:
    """The device this runs on.

    Args:
        cpuinfo: text in the form of /proc/cpuinfo; read from there when left out.
    """
    if cpuinfo is None:
        cpuinfo = _CPUINFO.read_text(encoding="utf-8", errors="replace") if _CPUINFO.exists() else ""
    fields = _first_processor(cpuinfo)
    flags = set((fields.get("flags") or fields.get("features") or "").lower().split())
    flags |= {"neon"} if "asimd" in flags else set()
    vendor = (fields.get("vendor_id") or fields.get("cpu implementer") or platform.machine() or "unknown").lower()
    numbers = [fields[k] for k in ("cpu family", "model", "cpu part", "cpu variant") if k in fields]
    name = fields.get("model name") or _name_by_platform()
    return Device(
        vendor=_VENDORS.get(vendor, vendor),
        microarchitecture="-".join(numbers) or platform.machine(),
        name=name,
        isa=tuple(sorted(flag for flag in _TELLING_ISA if flag in flags)),
        cores=usable_cores(),
    )


def _strength(flag: str) -> int:
    """Rank among instruction sets; what a newer version wrote into a table and this one does not know comes last."""
    return _TELLING_ISA.index(flag) if flag in _TELLING_ISA else -1


def _first_processor(cpuinfo: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        key, colon, value = line.partition(":")
        if colon:
            fields.setdefault(key.strip().lower(), value.strip())
        elif fields and not line.strip():
            break
    return fields


def _name_by_platform() -> str:
    if platform.system() == "Darwin":
        asked = subprocess.run(
            ["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, check=False, timeout=5
        )
        if asked.returncode == 0 and asked.stdout.strip():
            return asked.stdout.strip()
    return platform.processor() or platform.machine()


def usable_cores() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
