"""A command that ends by itself leaves the group of processes that it was started with."""

from __future__ import annotations

import pytest
import torch.distributed

from freemcg.commands.app import main
from freemcg.jobs import demo
from freemcg.messages.errors import INTERRUPTED


@pytest.fixture
def group(tmp_path):
    """A group of one process."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    yield
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


@pytest.mark.parametrize(("words", "status"), [(["--version"], 0), (["report", "nowhere"], 2), (["--nonsense"], 2)])
def test_a_command_leaves_its_processes_whatever_its_status(group, words, status):
    assert main(words) == status
    assert not torch.distributed.is_initialized()


def test_an_interrupt_does_not_wait_for_the_other_processes(group, monkeypatch):
    def interrupt(*words, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "run_demo", interrupt)
    assert main(["demo"]) == INTERRUPTED
    assert torch.distributed.is_initialized()
