import io

import numpy as np
from PIL import Image

from services.image_classifier.decode import decode
from services.image_classifier.domain import Label, Probabilities, Quality
from services.image_classifier.model_version import Prediction
from services.image_classifier.rollout.journal import Entry
from services.image_classifier.tests.rollout_worker import AT


def test_where_a_picture_lies_among_its_camera_s_is_told_of_it_as_it_was_taken() -> None:
    said = Prediction(Probabilities(0.9, 0.1), Label.CAT, Quality.OK)
    room = Image.fromarray(np.repeat(np.arange(0, 240, 10, dtype=np.uint8), 24).reshape(24, 24))  # 115 and 69
    entry = Entry()
    for divisor in (1, 4):
        file = io.BytesIO()
        room.point(lambda v, by=divisor: v // by).save(file, "PNG")
        entry.spread("c1", AT, decode(file.getvalue(), 24), said)
    bins = {kind: [b for _, _, k, b in entry.spreads if k == kind] for kind in ("brightness", "contrast")}
    assert bins == {"brightness": [4, 1], "contrast": [5, 1]}
