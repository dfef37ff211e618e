"""Statistics of pictures by counting their values: those of the pixels themselves."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tandem.tools.export.statistics import Pixels, of_all

IMAGES = st.lists(arrays(np.uint8, (4, 5, 3)), min_size=2, max_size=6)


@given(IMAGES)
def test_counted_values_tell_what_the_pixels_do(images: list[np.ndarray]) -> None:
    parts = [Pixels(), Pixels()]
    for i, image in enumerate(images):
        parts[i % 2].add(image)
    found = of_all(parts).statistics()
    pixels = np.array(images).reshape(-1, 3) / 255.0
    assert found["count"] == [len(images)]
    expected = {"min": pixels.min(0), "max": pixels.max(0), "mean": pixels.mean(0)}
    expected |= {"std": pixels.std(0)}
    for name, value in expected.items():
        np.testing.assert_allclose(np.array(found[name])[:, 0, 0], value, atol=1e-7)
    for name, q in (("q01", 0.01), ("q50", 0.5), ("q99", 0.99)):
        nearest = np.quantile(pixels, q, axis=0, method="inverted_cdf")
        np.testing.assert_allclose(np.array(found[name])[:, 0, 0], nearest, atol=1e-12)
