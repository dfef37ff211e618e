"""Every driver of an arm passes every law."""

import pytest

from tests.drivers.conformance.laws import LAWS
from tests.drivers.conformance.subjects import subject

KINDS = ("fake", "sim", "fr3", "fer")


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("kind", KINDS)
def test_law(kind, law):
    with subject(kind) as given:
        law(given, given.make)
