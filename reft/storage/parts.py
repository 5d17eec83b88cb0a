"""Work in numbered parts that several machines share: a part that has its marker in the store need not be done again.

Under the work's folder in the store: `parts/NUMBER` (what a part gave) and `done/NUMBER.json`, its marker, written
last.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reft.storage.store import Store


@dataclass(frozen=True, kw_only=True)
class Parted:
    """Such work, as one of the machines sees it.

    Attributes:
        store: where its results go.
        folder: of its work, in the store.
    """

    store: Store
    folder: str

    def marker(self, number: int) -> str:
        """The name of a part's marker."""
        return f"{self.folder}/done/{number:06d}.json"

    def part(self, number: int) -> str:
        """The folder of what a part gave."""
        return f"{self.folder}/parts/{number:06d}"

    def done(self) -> set[int]:
        """The parts whose markers are there."""
        names = (Path(file.name) for file in self.store.files(f"{self.folder}/done"))
        return {int(name.stem) for name in names if name.stem.isdecimal()}

    def mark_of(self, number: int) -> dict[str, Any]:
        """What the part's marker says."""
        return json.loads(self.store.read(self.marker(number)))

    def finish(self, number: int, made: Path, mark: dict[str, Any]) -> None:
        """Leave the files of a folder as what a part gave, then its marker."""
        for file in sorted(made.iterdir()):
            self.store.put(file, f"{self.part(number)}/{file.name}")
        self.store.write(self.marker(number), json.dumps(mark).encode())
