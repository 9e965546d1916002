"""Windows: what a worker remembers of the spaces that it counted last."""

from services.aggregation.occupancy import Image
from services.aggregation.window import Window, Windows


def test_windows_are_remembered_by_name_and_within_a_limit() -> None:
    windows = Windows(limit=2)
    image = Image("r", 0, 0.0, 0.0)
    for number in range(3):
        window = Window()
        window.put(0, "a", {"x": image})
        windows.keep(f"k{number}", f"fold{number}", window)
    assert windows.take("k0", "fold0") is None, "the least used was let go"
    assert windows.take("k1", "another") is None
    assert windows.take("k1", "fold1") is None, "what is outdated is not kept"
    assert windows.take("k2", "fold2") is not None
