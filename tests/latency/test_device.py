"""Identifying devices."""

from __future__ import annotations

import pytest

from autocompress.errors import TableError
from autocompress.latency.device import Device, identify_device

ZEN4 = """processor : 0
vendor_id : AuthenticAMD
cpu family : 25
model : 17
model name : AMD EPYC 9B14
flags : fpu avx avx2 fma avx512f avx512bw avx512_vnni avx512_bf16 sse4_1

processor : 1
vendor_id : GenuineIntel
"""
NEOVERSE = """processor : 0
Features : fp asimd asimddp i8mm sve
CPU implementer : 0x41
CPU variant : 0x1
CPU part : 0xd40
"""


def test_x86() -> None:
    device = identify_device(ZEN4)
    assert (device.vendor, device.microarchitecture, device.name) == ("amd", "25-17", "AMD EPYC 9B14")
    assert {"avx2", "avx512_vnni"} <= set(device.isa)
    assert device.slug == "amd-25-17-avx512bf16"


def test_arm() -> None:
    device = identify_device(NEOVERSE)
    assert (device.vendor, device.microarchitecture) == ("arm", "0xd40-0x1")
    assert device.isa == ("asimddp", "i8mm", "neon", "sve")
    assert device.slug == "arm-0xd40-0x1-sve"


def test_instruction_sets_are_part_of_the_identity() -> None:
    weaker = identify_device(ZEN4.replace("avx512_vnni", ""))
    assert weaker.fingerprint != identify_device(ZEN4).fingerprint


def test_marketing_names_and_core_counts_are_not() -> None:
    assert identify_device(ZEN4.replace("9B14", "9654")).fingerprint == identify_device(ZEN4).fingerprint


def test_an_unknown_platform_still_has_an_identity() -> None:
    device = identify_device("")
    assert device.fingerprint
    assert device.cores >= 1


def test_this_device_is_the_same_every_time() -> None:
    assert identify_device() == identify_device()
    assert Device.from_dict(identify_device().to_dict()) == identify_device()


def test_a_malformed_device_is_refused() -> None:
    with pytest.raises(TableError, match="malformed"):
        Device.from_dict({"vendor": "amd"})
