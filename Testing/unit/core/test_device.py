"""Which device computes, and the retreat when memory runs out."""

from __future__ import annotations

from contextlib import suppress

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from NeuroGenLib.core.device import choose_device, out_of_memory, with_memory_fallback
from NeuroGenLib.core.errors import InputError, NeuroGenError
from Testing.raising import raises

CPU = torch.device("cpu")
CUDA = torch.device("cuda")


def cards(monkeypatch: pytest.MonkeyPatch, count: int, mps: bool = False) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


def test_auto_is_cuda_where_there_is_a_gpu_and_never_mps(monkeypatch: pytest.MonkeyPatch) -> None:
    cards(monkeypatch, 2, mps=True)
    assert choose_device() == CUDA
    cards(monkeypatch, 0, mps=True)
    assert choose_device() == CPU


def test_a_card_is_chosen_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    cards(monkeypatch, 2)
    assert choose_device("cuda:1") == torch.device("cuda:1")
    with raises("device-unavailable") as caught:
        choose_device("cuda:2")
    assert "has 2" in caught.value.remedy


def test_mps_is_there_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    cards(monkeypatch, 0, mps=True)
    assert choose_device("mps") == torch.device("mps")


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "mps"])
def test_a_device_that_is_not_there_is_refused_with_the_cpu_as_way_out(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cards(monkeypatch, 0)
    with pytest.raises(InputError) as caught:
        choose_device(name)
    assert "--device cpu" in caught.value.remedy


@pytest.mark.parametrize(
    "name",
    ["", "gpu", "CPU", "cpu:", "cpu:0", "auto:1", "cuda:", "cuda:x", "cuda:-1", "mps:0", "cuda:1:2", "cuda:²"],
)
def test_a_word_that_is_not_a_device_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cards(monkeypatch, 4, mps=True)
    with pytest.raises(InputError) as caught:
        choose_device(name)
    assert f"'{name}'" in caught.value.problem
    assert "cpu" in caught.value.remedy


@given(name=st.text(max_size=8))
def test_any_text_is_a_device_or_refused(name: str) -> None:
    with suppress(InputError):
        assert isinstance(choose_device(name), torch.device)


def test_which_errors_are_about_memory() -> None:
    assert out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert out_of_memory(RuntimeError("DefaultCPUAllocator: not enough memory: Out of memory"))
    assert not out_of_memory(RuntimeError("shapes differ"))


def test_work_that_fits_is_done_once() -> None:
    calls = []
    assert with_memory_fallback(lambda *at: calls.append(at) or "done", CPU, 64) == "done"
    assert calls == [(CPU, 64)]


@pytest.mark.slow
def test_the_retreat_goes_to_smaller_chunks_then_to_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    calls: list[tuple[str, int]] = []
    said: list[str] = []

    def work(device: torch.device, chunk: int) -> str:
        calls.append((device.type, chunk))
        if device.type == "cuda":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return "done on the cpu"

    assert with_memory_fallback(work, CUDA, 64, warn=said.append) == "done on the cpu"
    assert calls == [("cuda", 64), ("cuda", 16), ("cuda", 4), ("cpu", 64)]
    assert len(said) == 3
    assert "cpu" in said[-1]


def test_chunks_are_never_smaller_than_allowed() -> None:
    chunks = []

    def work(_: torch.device, chunk: int) -> None:
        chunks.append(chunk)
        raise MemoryError

    with raises("memory-exhausted", kind=NeuroGenError) as caught:
        with_memory_fallback(work, CPU, 64, smallest=32, warn=lambda _: None)
    assert chunks == [64, 32]
    assert "coarser" in caught.value.remedy
    assert caught.value.exit_code == 1


def test_other_errors_are_not_swallowed() -> None:
    calls = []

    def work(*at: object) -> None:
        calls.append(at)
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        with_memory_fallback(work, CPU, 64)
    assert len(calls) == 1
