"""The library's own layers over some rows of a sequence, by hand: the yardstick of cached steps."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Kept:
    """What `Cache` is to the library's attention: here keys and values stand by their place."""

    def __init__(self, config, places: int) -> None:
        shape = (config.num_hidden_layers, 1, config.num_key_value_heads, places, config.head_dim)
        self.keys, self.values = torch.zeros(shape), torch.zeros(shape)
        self.now = torch.arange(0)  # places under way

    def update(self, key: Tensor, value: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        self.keys[layer][:, :, self.now] = key
        self.values[layer][:, :, self.now] = value
        return self.keys[layer], self.values[layer]


class Layers:
    """A `LlamaModel` or `GemmaModel` whose rows see each other both ways."""

    def __init__(self, model: nn.Module, places: int) -> None:
        self._model, self._kept = model, Kept(model.config, places)

    def step(
        self,
        x: Tensor,
        places: Tensor,
        leave: Mapping[int, Tensor],
        sight: Tensor | None = None,
    ) -> Tensor:
        """Rows x [n, width] at `places` [n], ascending, to their hidden [n, width].

        leave: layer → places that are computed no further. All others keep keys and values.
        sight: bool [n, places of all]; None: everything.
        """
        x, under_way = x.clone(), torch.ones(len(places), dtype=torch.bool)
        for number, layer in enumerate(self._model.layers):
            if number in leave:
                under_way &= ~torch.isin(places, leave[number])
            self._kept.now = now = places[under_way]
            turned = self._model.rotary_emb(x[None], now[None])
            seen = torch.zeros(1, 1, len(now), self._kept.keys.shape[3])
            if sight is not None:
                seen.masked_fill_(~sight[under_way], float("-inf"))
            x[under_way] = layer(
                x[None, under_way],
                attention_mask=seen,
                past_key_values=self._kept,
                position_embeddings=turned,
            )[0]
        return self._model.norm(x)
