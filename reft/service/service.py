"""What a process of the service holds: settings, and the ways to the database and the files. No state."""

from dataclasses import dataclass
from functools import cached_property

from reft.config import Settings
from reft.config.serving import Limits
from reft.service.blobs import Blobs
from reft.service.database import Database
from reft.service.settings import ServiceSettings


@dataclass(frozen=True)
class Service:
    """Made once in each process: the server's, the checker's, a job's worker's, a command's."""

    settings: ServiceSettings
    database: Database
    blobs: Blobs

    @cached_property
    def run_settings(self) -> Settings:
        """What a job's pipeline is run with, before the job's own part."""
        return self.settings.run_settings()

    @cached_property
    def models(self) -> dict[str, str]:
        """The served base models: public name, and where each lies."""
        return self.settings.models()

    @cached_property
    def chat_limits(self) -> Limits:
        """What a request for an answer may ask for: the limits of all our servers, `REFT_SERVE_*`.

        Raises:
            ConfigurationError: the environment sets a limit that is none.
        """
        return Limits.from_environment()

    @property
    def longest_prompt(self) -> int:
        """Tokens of a prompt at most: the limit, or as many as a row of a training may have."""
        return self.chat_limits.prompt_tokens or self.run_settings.model.max_length

    def base_model(self, name: str) -> str | None:
        """The public name of the base model that is called so; None where none is."""
        name = self.settings.aliases.get(name, name)
        return name if name in self.models else None


def open_service(settings: ServiceSettings) -> Service:
    """Open the state, made and brought up to date where needed.

    Raises:
        ConfigurationError: there is no such kind of database.
        StorageError: the state cannot be written.
    """
    database = Database(settings.database_url)
    database.migrate()
    return Service(settings, database, Blobs(settings.files_url))
