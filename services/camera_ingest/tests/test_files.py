"""Image files: their names are made durable together, and one failure is told to all whom it concerns."""

import os
from pathlib import Path
from unittest.mock import Mock

import pytest

from services.camera_ingest import files
from services.camera_ingest.files import ImageFiles

HOUR = (
    "018f0000-0000-7000-8000-000000000001",
    "018f0000-0001-7000-8000-000000000002",
    "018f0000-0002-7000-8000-000000000003",
)
ANOTHER = "018f1000-0000-7000-8000-000000000004"


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ImageFiles:
    """Image files with a folder for each of two hours, which are known to be durable."""
    images = ImageFiles(tmp_path)
    for receipt in (HOUR[0], ANOTHER):
        create(images, receipt)
        images.sync_name(receipt)
        images.remove(receipt)
    return images


def create(images: ImageFiles, *receipts: str) -> None:
    for receipt in receipts:
        os.close(images.create(receipt))


def test_a_folder_is_synced_once_for_all_names_that_were_given_before(
    images: ImageFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = Mock()
    monkeypatch.setattr(files, "sync_folder", sync)
    create(images, *HOUR[:2])
    for receipt in HOUR[:2]:
        images.sync_name(receipt)
    assert sync.call_count == 1
    create(images, HOUR[2])
    images.sync_name(HOUR[2])
    assert sync.call_count == 2


def test_a_name_that_is_given_while_its_folder_is_synced_is_not_taken_for_durable(
    images: ImageFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced, during = [], iter([HOUR[1]])

    def sync(folder: Path) -> None:
        synced.append(folder)
        create(images, *during)

    monkeypatch.setattr(files, "sync_folder", sync)
    create(images, HOUR[0])
    images.sync_name(HOUR[0])
    images.sync_name(HOUR[1])
    assert len(synced) == 2


def test_a_failed_sync_refuses_all_names_from_before_and_no_other(
    images: ImageFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(images, *HOUR[:2], ANOTHER)
    with monkeypatch.context() as patch:
        patch.setattr(files, "sync_folder", Mock(side_effect=OSError(5, "Input/output error")))
        with pytest.raises(OSError, match="Input/output"):
            images.sync_name(HOUR[0])
    with pytest.raises(OSError, match="could not be synced"):
        images.sync_name(HOUR[1])
    create(images, HOUR[2])
    for receipt in (HOUR[2], ANOTHER):
        images.sync_name(receipt)


def test_a_folder_that_is_gone_fails_whoever_has_a_file_in_it(images: ImageFiles) -> None:
    create(images, HOUR[0])
    images.remove(HOUR[0])
    images.path(HOUR[0]).parent.rmdir()
    with pytest.raises(FileNotFoundError):
        images.sync_name(HOUR[0])
