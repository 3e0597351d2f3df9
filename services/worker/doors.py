"""What every job is given: the doors to Codex, git and the forges, and the token for a project's origin."""

from services.worker.agent import Agent
from services.worker.forge import Forge, Forges
from services.worker.git.door import Git
from services.worker.git.records import Credential, Remote
from services.worker.post import Post
from shared.errors import Category, JobError, SealError
from shared.failpoints import points
from shared.redaction import Redactor
from shared.repository import projects
from shared.repository.database import Database
from shared.schemas.names import url_host
from shared.schemas.records import Project
from shared.schemas.statuses import Provider
from shared.secret import Secret
from shared.security import FileSecret, Vault
from shared.settings import Settings

FORGE_TOKEN = "forge_token"  # noqa: S105  the name of a secret


class Doors:
    """The outside world, as jobs may touch it."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        vault: Vault,
        git: Git,
        agent: Agent,
        redactor: Redactor,
        *,
        forges: Forges,
    ) -> None:
        self.settings = settings
        self.git = git
        self.agent = agent
        self.redactor = redactor
        self.database = database
        self._vault = vault
        self._forges = forges
        self.post = Post(vault, redactor, allow_http=settings.is_local)

    @points
    async def remote_of(self, project: Project) -> Remote:
        """The project's origin, with the token for its host if there is one; a token goes over https alone."""
        host = url_host(project.git_url)
        token = await self._token_of(project) if project.git_url.startswith("https://") else None
        return Remote(project.git_url, None if host is None or token is None else Credential(host, token))

    @points
    async def forge_of(self, project: Project) -> Forge | None:
        """The API of the project's forge; None where that is neither GitHub nor GitLab, or there is no token for it."""
        provider = self._provider_of(project)
        token = await self._token_of(project)
        return None if provider is None or token is None else self._forges.of(provider, project.git_url, token)

    def without_forge(self, project: Project) -> str:
        """Why `forge_of` gives nothing, and what is to be set so that it does, in one sentence."""
        provider = self._provider_of(project)
        if provider is None and url_host(project.git_url) is None:
            return f"{project.git_url} is a repository on this machine: there is no forge to be told."
        if provider is None:
            return f"It is not known which forge {project.git_url} is on: set ci_provider to github or gitlab."
        name = f"DEKSDENFLOW_{provider.upper()}_TOKEN"
        return f"There is no token for {provider}: store one as the project's secret {FORGE_TOKEN}, or set {name}."

    async def aclose(self) -> None:
        """Hang up on everybody."""
        await self._forges.aclose()
        await self.post.aclose()

    def _provider_of(self, project: Project) -> Provider | None:
        if project.ci_provider in {Provider.GITHUB, Provider.GITLAB}:
            return project.ci_provider
        forge = self.settings.forges.get(url_host(project.git_url) or "")
        return None if forge is None else Provider(forge)

    async def _token_of(self, project: Project) -> Secret | None:
        """The token for the project's host: its own, else the one of the settings."""
        host = url_host(project.git_url)
        if host is None:
            return None
        token = await self._own_token(project) or self._settings_token(host)
        if token is not None:
            self.redactor.learn(token.reveal())
        return token

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
