"""The text that a network is told. It is encoded once, and fixed for a whole explanation."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from freemcg.diffusion.condition import guided
from freemcg.identity.network import identity
from freemcg.messages.arguments import real
from freemcg.messages.errors import InvalidType, InvalidValue


@dataclass(frozen=True)
class Prompt:
    """A text, as a text encoder says it. The empty one stands for images of any kind.

    Attributes:
        prompt: the text.
        guidance_scale: the weight `w` of `eps_empty + w (eps_prompt - eps_empty)` (Ho, Salimans 2022). With 1 the empty
            text does not matter. With any other, an image costs two passes.
        told, empty: what the network gets for the text and for the empty one, `(1, L, D)`.
        digest: that of the text encoder and of the tokens of both.
    """

    prompt: str
    guidance_scale: float
    told: Tensor
    empty: Tensor
    digest: str

    def __str__(self) -> str:
        guidance = "" if self.guidance_scale == 1 else f", guidance {self.guidance_scale:g}"
        return f"text {self.prompt!r}{guidance}, {self.digest}"

    @property
    def record(self) -> dict[str, Any]:
        """What a result records, which are also the arguments that load the same denoiser."""
        return {"prompt": self.prompt, "guidance_scale": self.guidance_scale}

    def answer(self, ask: Callable[[Tensor], Tensor]) -> Tensor:
        """The guided answer, from the answers of the network to one text and the other."""
        return guided(ask, self.told, self.empty, self.guidance_scale)


@dataclass(frozen=True)
class TextEncoder:
    """The text encoder and the tokenizer of a pipeline, `CLIPTextModel` and `CLIPTokenizer` of `transformers`."""

    network: Any
    tokenizer: Any

    def read(self, prompt: str | None, guidance_scale: float) -> Prompt:
        """Encode a text, as `StableDiffusionPipeline` does: filled up with padding, the last hidden state.

        `None` is the empty text.

        Raises:
            TypeError: the prompt is no text, or the scale no number.
            ValueError: the text is too long, the scale is not in 0..100, or guidance lacks a text.
        """
        if not isinstance(prompt, str | None):
            raise InvalidType(f"prompt must be a text, got {prompt!r:.60}")
        text, weight = prompt or "", real("guidance_scale", guidance_scale, 0, 100)
        if weight != 1 and not text:
            raise InvalidValue(
                f"guidance_scale={weight:g} leads from the empty prompt to another; give prompt (--prompt)"
            )
        tokens = [self._tokens(each) for each in (text, "")]
        told, empty = (self._encoded(each) for each in tokens)
        words = f"{identity(self.network)} {[each.tolist() for each in tokens]}"
        return Prompt(text, weight, told, empty, hashlib.blake2b(words.encode(), digest_size=8).hexdigest())

    def _tokens(self, text: str) -> Tensor:
        most = min(self.tokenizer.model_max_length, self.network.config.max_position_embeddings)
        needed = len(self.tokenizer(text).input_ids)
        if needed > most:
            ends = needed - len(self.tokenizer(text, add_special_tokens=False).input_ids)
            raise InvalidValue(
                f"prompt has {needed - ends} tokens, but the denoiser's text encoder takes {most - ends}; shorten it"
            )
        tokens: Tensor = self.tokenizer(text, padding="max_length", max_length=most, return_tensors="pt").input_ids
        return tokens

    @torch.no_grad()
    def _encoded(self, tokens: Tensor) -> Tensor:
        encoded: Tensor = self.network(tokens).last_hidden_state
        return encoded
