"""Order only: the pipeline is the longest test, so the others run beside it."""


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.get_closest_marker("pipeline") is None)
