"""Every driver of an arm passes every law."""

import pytest

from tests.drivers import vendor_clients
from tests.drivers.conformance.laws import LAWS
from tests.drivers.conformance.subjects import BY, robot, subject


@pytest.fixture(scope="module", params=("fake", "sim", "fr3", f"fr3{BY}", "fer"))
def kind_and_robot(request):
    if request.param.startswith("fr3"):
        pytest.importorskip("pylibfranka")
    if request.param == "fer":
        vendor_clients.needed()
    with robot(request.param) as rig:
        yield request.param, rig


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_law(kind_and_robot, law):
    with subject(*kind_and_robot) as given:
        law(given, given.make)
