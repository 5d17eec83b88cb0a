"""Models in memory: bases with many adapters side by side, and models with weights of their own; what was used least
recently goes first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from reft.config import ModelSettings
from reft.models.default_model import resolve_model
from reft.models.hardware import choose_hardware
from reft.models.loading import add_adapter, load_model, load_tokenizer
from reft.models.memory import collect_garbage

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Source:
    """Where a model lies: the base's folder or hub id, and the folder of what was made of it (None: the base)."""

    base: str
    folder: Path | None = None

    @property
    def is_adapter(self) -> bool:
        """Whether it is an adapter on the base."""
        return self.folder is not None and (self.folder / "adapter_config.json").is_file()

    @property
    def whole(self) -> str:
        """Where the whole model lies that must be in memory."""
        return self.base if self.folder is None or self.is_adapter else str(self.folder)


@dataclass
class Resident:
    """A whole model, and by their folders the adapters on it: PEFT's names for them, and their tokenizers."""

    model: Any
    tokenizer: PreTrainedTokenizerBase
    adapters: dict[Path, tuple[str, PreTrainedTokenizerBase]] = field(default_factory=dict)


class Residents:
    """All of them; used by one thread."""

    def __init__(self, settings: ModelSettings, *, models: int, adapters: int) -> None:
        self._settings, self._most_models, self._most_adapters = settings, models, adapters
        self._models: OrderedDict[str, Resident] = OrderedDict()
        self._adapters: OrderedDict[Path, Resident] = OrderedDict()
        self._numbers = count()

    @property
    def held(self) -> tuple[list[str], list[Path]]:
        """The whole models and the adapters in memory, what was used least recently first."""
        return list(self._models), list(self._adapters)

    @contextmanager
    def speaking(self, source: Source) -> Generator[tuple[Any, PreTrainedTokenizerBase]]:
        """The model, which answers within the block as this one, and its tokenizer.

        Raises:
            ModelError: it cannot be loaded.
        """
        resident = self._resident(source.whole)
        if source.is_adapter and source.folder:
            name, tokenizer = self._adapter(resident, source.folder)
            resident.model.set_adapter(name)
            yield resident.model, tokenizer
            return
        with ExitStack() as stack:
            if resident.adapters:
                stack.enter_context(resident.model.disable_adapter())
            yield resident.model, resident.tokenizer

    def _resident(self, where: str) -> Resident:
        if where not in self._models:
            while len(self._models) >= self._most_models:
                _, gone = self._models.popitem(last=False)
                for folder in gone.adapters:
                    del self._adapters[folder]
                del gone
                collect_garbage()
            self._models[where] = self._loaded(where)
        self._models.move_to_end(where)
        return self._models[where]

    def _loaded(self, where: str) -> Resident:
        name, hardware = resolve_model(where), choose_hardware(self._settings.dtype)
        trusted = self._settings.trust_remote_code
        tokenizer = load_tokenizer(name, self._settings.chat_template, trusted)
        with torch.random.fork_rng(devices=[]):
            model = load_model(name, hardware.dtype, device=hardware.device, trust_remote_code=trusted)
        return Resident(model, tokenizer)

    def _adapter(self, resident: Resident, folder: Path) -> tuple[str, PreTrainedTokenizerBase]:
        if folder not in resident.adapters:
            while len(self._adapters) >= self._most_adapters:
                self._drop(next(iter(self._adapters)))
            name = f"a{next(self._numbers)}"  # PEFT's names may hold no dot, models' names do
            resident.model = add_adapter(resident.model, folder, name)
            resident.adapters[folder] = name, tokenizer_of(folder, resident.tokenizer)
            self._adapters[folder] = resident
        self._adapters.move_to_end(folder)
        return resident.adapters[folder]

    def _drop(self, folder: Path) -> None:
        resident = self._adapters.pop(folder)
        name, _ = resident.adapters.pop(folder)
        if resident.adapters:
            resident.model.delete_adapter(name)
        else:  # PEFT's wrapper goes with its last adapter
            resident.model = resident.model.unload()


def tokenizer_of(folder: Path, otherwise: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """The tokenizer that an adapter brings, with the chat template of its training, or its base's."""
    return load_tokenizer(str(folder)) if (folder / "tokenizer.json").is_file() else otherwise
