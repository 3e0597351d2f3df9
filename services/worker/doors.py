"""What every job is given: the doors to Codex and git, and the token for a project's origin."""

from services.worker.agent import Agent
from services.worker.git.door import Git
from services.worker.git.records import Credential, Remote
from shared.errors import Category, JobError, SealError
from shared.failpoints import points
from shared.redaction import Redactor
from shared.repository import projects
from shared.repository.database import Database
from shared.schemas.names import url_host
from shared.schemas.records import Project
from shared.secret import Secret
from shared.security import FileSecret, Vault
from shared.settings import Settings

FORGE_TOKEN = "forge_token"  # noqa: S105  the name of a secret


class Doors:
    """The outside world, as jobs may touch it."""

    def __init__(
        self, settings: Settings, database: Database, vault: Vault, git: Git, agent: Agent, redactor: Redactor
    ) -> None:
        self.settings = settings
        self.git = git
        self.agent = agent
        self.redactor = redactor
        self.database = database
        self._vault = vault

    @points
    async def remote_of(self, project: Project) -> Remote:
        """The project's origin with the token for its host: the project's own, else the one of the settings."""
        host = url_host(project.git_url)
        if host is None or not project.git_url.startswith("https://"):
            return Remote(project.git_url)
        token = await self._own_token(project) or self._settings_token(host)
        if token is None:
            return Remote(project.git_url)
        self.redactor.learn(token.reveal())
        return Remote(project.git_url, Credential(host, token))

    async def _own_token(self, project: Project) -> Secret | None:
        stored = await self.database.read(projects.secret, project.id, FORGE_TOKEN)
        if stored is None:
            return None
        try:
            if stored.file_name is not None:
                return FileSecret(stored.file_name).read()
            return Secret(self._vault.open(stored.sealed or b"", f"project:{project.id}:{FORGE_TOKEN}"))
        except SealError as error:
            raise JobError(Category.CONFIG, str(error)) from error

    def _settings_token(self, host: str) -> Secret | None:
        match self.settings.forges.get(host):
            case "github":
                return self.settings.github_token
            case "gitlab":
                return self.settings.gitlab_token
            case _:
                return None
