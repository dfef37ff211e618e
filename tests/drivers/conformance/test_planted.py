"""The suite objects to each planted fault: a suite that cannot fail proves nothing."""

import pytest
from tandem.drivers.franka.fr3 import Fr3Line

from tests.drivers.conformance.laws import LAWS
from tests.drivers.conformance.planted import ON_FAKE, ON_FR3
from tests.drivers.conformance.subjects import PANDA, Fake, robot, subject
from tests.drivers.franka_rig import MODELS

BY_NAME = {law.__name__: law for law in LAWS}


class Planted(Fake):
    def __init__(self, driver) -> None:
        super().__init__()
        self._driver = driver

    def make(self):
        self.arm = self._driver(PANDA.spec, PANDA.home_q, self.clock, trace=True)
        return self.arm


@pytest.mark.parametrize("driver", ON_FAKE, ids=lambda driver: driver.__name__)
def test_a_planted_fault_is_found(driver):
    given = Planted(driver)
    with pytest.raises(AssertionError) as objection:
        BY_NAME[ON_FAKE[driver]](given, given.make)
    assert str(objection.value)


@pytest.mark.parametrize("driver", ON_FR3, ids=lambda driver: driver.__name__)
def test_a_planted_fault_of_a_franka_is_found(driver):
    pytest.importorskip("pylibfranka")
    with robot("fr3") as rig, subject("fr3", rig) as given:
        arm = driver(MODELS["fr3"].spec, given.rig.host, Fr3Line, clock=given.clock)
        try:
            with pytest.raises(AssertionError) as objection:
                BY_NAME[ON_FR3[driver]](given, lambda: arm)
        finally:
            arm.close()
    assert str(objection.value)
