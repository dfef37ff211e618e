"""Scripted systems that sway whatever they are told to do, for tests of what is around them."""

from tandem.tools.faults.sweep import SweepS1, SweepS2


class ObedientS1(SweepS1):
    def reset(self, instruction: str) -> None:
        super().reset("sweep")


class ObedientS2(SweepS2):
    def reset(self, instruction: str) -> None:
        super().reset("sweep")
