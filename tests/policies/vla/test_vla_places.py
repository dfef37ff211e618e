"""Where rows stand: put in the order of their positions, they are the prompt again."""

from types import SimpleNamespace

import torch
from hypothesis import given
from hypothesis import strategies as st
from tandem.policies.vla.places import Room
from tandem.policies.vla.words import EMPTY, Words
from torch import Tensor

PATCH = -2.0  # what stands for a picture's row
# Embeds a token as its own number.
TRUNK = SimpleNamespace(
    norm=SimpleNamespace(weight=torch.zeros(1)), embed=lambda tokens: tokens[:, None].float()
)


@st.composite
def prompts(draw: st.DrawFn) -> tuple[Room, Words]:
    """Any room, and words that fit into it; tokens are all different."""
    size = st.integers(0, 3)
    head, gap, slots = draw(size), draw(size), draw(size)
    pictures, patches = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    tail = draw(st.integers(1, 5))
    unread = draw(st.integers(0, slots))
    readouts = draw(st.integers(1, tail + slots - unread))
    both = draw(st.booleans())
    static = draw(st.integers(0, pictures * patches - 1))
    count = iter(range(1, 100))
    words = Words(
        [next(count) for _ in range(head)],
        [next(count) for _ in range(gap * (pictures - 1))],
        [next(count) for _ in range(tail)],
        [EMPTY] * (slots - unread) + [next(count) for _ in range(unread)],
    )
    text = tail + slots + draw(size)
    levels = (static,) if static else ()
    return Room(head, gap, pictures, patches, text, readouts, unread, both, levels), words


def expected(room: Room, words: Words) -> list[float]:
    said, gap = list(words.head), room.gap
    for picture in range(room.pictures):
        said += [PATCH] * room.patches
        if picture < room.pictures - 1:
            said += words.gap[picture * gap : (picture + 1) * gap]
    return said + [max(token, 0) for token in words.tail + words.ending]


def rows(room: Room, words: Words) -> Tensor:
    """The store as it is filled."""
    prompt = room.prompt(words, TRUNK)  # type: ignore[arg-type]
    pictures = torch.full((room.visual, 1), PATCH)
    return torch.cat([prompt.bos, pictures, prompt.text, prompt.readout])[:, 0]


@given(prompts())
def test_in_the_order_of_their_positions_rows_are_the_prompt(made: tuple[Room, Words]) -> None:
    room, words = made
    layout, used, positions = room.layout(), room.used(words), room.positions(words)
    stored = rows(room, words)
    assert layout.rows == len(stored) == len(positions) == len(used)
    order = positions[used].argsort()
    assert positions[used][order].tolist() == list(range(int(used.sum())))
    sequence = expected(room, words)
    assert stored[used][order].tolist() == sequence
    end = len(sequence) - room.unread
    read = positions[list(layout.readout_rows)]
    assert read.tolist() == list(range(end - room.readouts, end))


@given(prompts())
def test_nobody_sees_what_is_spare_and_causal_prompts_nothing_later(
    made: tuple[Room, Words],
) -> None:
    room, words = made
    seen, used, at = room.seen(words), room.used(words), room.positions(words)
    assert seen.diagonal().all()
    assert not (seen & ~torch.eye(len(used), dtype=torch.bool))[:, ~used].any()
    earlier = at[None, :] <= at[:, None]
    assert torch.equal(seen[used][:, used], (earlier | room.bidirectional)[used][:, used])


@given(prompts())
def test_a_camera_sees_its_own_picture_and_the_words_alone(made: tuple[Room, Words]) -> None:
    """No rule takes the head or what is never read for words that ask for something."""
    room, words = made
    stored, whole = rows(room, words), room.layout()
    pictures: list[int] = []
    for layout in room.camera_layouts():
        pictures += layout.visual_rows
        assert layout.readout_rows == whole.readout_rows
        unread = words.ending[len(words.ending) - room.unread :]
        asking = set(stored[list(layout.text_rows)].tolist())
        assert asking <= {0.0, *words.gap, *words.tail, *words.ending} - set(unread)
    assert pictures == list(whole.visual_rows)
