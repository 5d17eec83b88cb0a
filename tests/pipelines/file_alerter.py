"""An alerter that writes to a file: a real stack component, for the tests."""

from pathlib import Path
from typing import Any

from zenml.alerter.base_alerter import BaseAlerter, BaseAlerterConfig, BaseAlerterFlavor


class FileAlerterConfig(BaseAlerterConfig):
    path: str


class FileAlerter(BaseAlerter):
    def post(self, message: str, params: Any = None) -> bool:  # noqa: ARG002
        with Path(self.config.path).open("a") as file:
            file.write(message + "\n---\n")
        return True


class FileAlerterFlavor(BaseAlerterFlavor):
    @property
    def name(self) -> str:
        return "file"

    @property
    def config_class(self) -> type[FileAlerterConfig]:
        return FileAlerterConfig

    @property
    def implementation_class(self) -> type[FileAlerter]:
        return FileAlerter
