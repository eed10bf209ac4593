"""What test files share: their order, and networks on one thread."""

import pytest
import torch


def pytest_collection_modifyitems(items):
    """The pipeline is the longest test, so the others run beside it."""
    items.sort(key=lambda item: item.get_closest_marker("pipeline") is None)


@pytest.fixture(scope="module")
def one_thread():
    """Maps as small as the tests' make threads wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
