"""Shape of the model and the rows of its token sequence, in one place."""

from dataclasses import dataclass


@dataclass(frozen=True)
class S2Config:
    """Sizes. The sequence is `[L1][L2][dynamic, frame by frame][text][read-out]`."""

    image: int = 128  # pixels a side
    stem: tuple[int, ...] = (24, 48, 96)  # channels before the last convolution
    width: int = 192
    heads: int = 6
    depth: int = 4
    static_mlp: int = 2  # width of the static encoders' hidden layer, in widths
    registers: int = 8  # L1 tokens
    changed: int = 16  # dynamic tokens a frame: the patches that differ most from the L2 reference
    frames: int = 4  # dynamic frames kept
    text: int = 12
    readouts: int = 2
    pointer: int = 64  # width of the pointer's keys
    pointed: int = 96  # width of what the pointer fetches
    kinds: int = 6  # colours: a patch may show several cubes, and offers a position for each kind
    latent_tokens: int = 2
    latent_width: int = 64

    @property
    def grid(self) -> int:
        """Patches a side: four convolutions of stride 2."""
        return self.image // 2 ** (len(self.stem) + 1)

    @property
    def patches(self) -> int:
        return self.grid**2

    @property
    def statics(self) -> int:
        """Rows of L1 and L2 together; the dynamic rows begin here."""
        return self.registers + self.patches

    @property
    def dynamics(self) -> int:
        return self.frames * self.changed

    @property
    def question(self) -> int:
        """Rows of text and read-out together, the tail of the sequence."""
        return self.text + self.readouts

    @property
    def rows(self) -> int:
        return self.statics + self.dynamics + self.question

    def frame_rows(self, slot: int) -> range:
        """Rows of the dynamic tokens of one frame."""
        start = self.statics + slot * self.changed
        return range(start, start + self.changed)

    @property
    def question_rows(self) -> range:
        return range(self.rows - self.question, self.rows)
