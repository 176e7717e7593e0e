"""Fetching from the hub and sending to it; whatever huggingface_hub says becomes one sentence."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from waveglow import __version__
from waveglow.distribution import install_hint
from waveglow.hub.cache import HASH, CachedRepository, HubFile, digest
from waveglow.hub.reference import COMMIT, CONFIG, FILES, REQUIRED, WEIGHTS, HubError, Reference

if TYPE_CHECKING:
    from huggingface_hub import HfApi

MOST_BYTES = dict.fromkeys(FILES, 2**20) | {WEIGHTS: 2**32}
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
LOG_IN = "log in with `hf auth login`, or set HF_TOKEN"


class UnreachableError(HubError):
    """The hub doesn't answer, or must not be asked."""


def fetch(text: str, *, check: Callable[[Path], object]) -> Path:
    """The folder in the cache of `hf:org/name@revision`, fetched where it isn't there whole; says which commit it is.

    A commit that is there is not asked for again, and what a branch was last stands in where the hub can't be reached.
    Names and sizes are checked before anything is fetched, hashes before anything comes into the cache.

    Arguments:
        check: called with a folder that has config.json, before the weights are fetched; what it raises refuses them.

    Raises ValueError for a malformed reference and without huggingface_hub, HubError for what the hub doesn't give,
    OSError where the disk refuses. The cache is left as it was.
    """
    asked = Reference.parse(text)
    library = _library()
    cached = CachedRepository.of(asked, Path(library.constants.HF_HUB_CACHE))
    if asked.is_commit and cached.has(asked.revision):
        return cached.snapshot(asked.revision)
    api = _api(library)
    try:
        commit, files = _listing(library, api, asked)
    except UnreachableError as error:
        last = cached.commit_of(asked)
        if last is None:
            raise HubError(f"{error}, and the cache ({cached.folder.parent}) doesn't have it") from error
        _tell(f"{error}; taken from the cache: {Reference(asked.repository, last)}")
        return cached.snapshot(last)
    if not cached.has(commit, [file.name for file in files]):
        _download(library, api, Reference(asked.repository, commit), cached, files, check=check)
    with contextlib.suppress(OSError):  # of a cache that can only be read
        cached.remember(asked, commit)
    if not asked.is_commit:
        _tell(f"{asked} is {Reference(asked.repository, commit)}; that name stays with these weights")
    return cached.snapshot(commit)


def upload(repository: str, files: Mapping[str, Path | bytes], *, private: bool, branch: str | None) -> tuple[str, str]:
    """Send files as one commit to a repository of the hub, made where there is none: (its address, the commit).

    Arguments:
        repository: org/name.
        files: by their names, those of FILES.
        private: of a repository that is made; one that is there and public is then refused.
        branch: made where there is none; None is main.

    Raises ValueError without huggingface_hub, HubError for what the hub doesn't take.
    """
    library = _library()
    api = _api(library)
    to = Reference(repository, branch) if branch else Reference(repository)
    if library.get_token() is None:
        raise HubError(f"{to}: sending needs a token; {LOG_IN}")
    with _told(to, library):
        api.create_repo(repository, private=private or None, exist_ok=True)
        if private and not api.model_info(repository, timeout=_patience(library)).private:
            raise HubError(f"{to}: is public, and --private was asked for; make it private first, or take another name")
        if branch:
            api.create_branch(repository, branch=branch, exist_ok=True)
        done = api.create_commit(
            repository,
            [library.CommitOperationAdd(name, content) for name, content in files.items()],
            commit_message=f"Checkpoint of waveglow {__version__}",
            revision=branch,
        )
        return f"{api.endpoint}/{repository}", str(done.oid)


def _library() -> ModuleType:
    try:
        import huggingface_hub
        import huggingface_hub.constants
        import huggingface_hub.errors
    except ImportError as error:
        raise ValueError(f"hf: needs huggingface_hub ({error}); {install_hint('hub')}") from error
    return huggingface_hub


def _api(library: ModuleType) -> HfApi:
    return library.HfApi(library_name="waveglow", library_version=__version__)


def _patience(library: ModuleType) -> float:
    """Seconds to wait for an answer; huggingface_hub's own default for what lists a repository is for ever."""
    return float(library.constants.HF_HUB_DOWNLOAD_TIMEOUT)


def _tell(line: str) -> None:
    print(f"notice: {line}", file=sys.stderr)


def _listing(library: ModuleType, api: HfApi, asked: Reference) -> tuple[str, list[HubFile]]:
    """The commit of a reference and those of its files that make a checkpoint, config.json first. Raises HubError."""
    with _told(asked, library):
        info = api.model_info(
            asked.repository, revision=asked.revision, files_metadata=True, timeout=_patience(library)
        )
    if not COMMIT.fullmatch(str(info.sha)):
        raise HubError(f"{asked}: the hub gives {str(info.sha)!r} for its commit, which is none; is HF_ENDPOINT right?")
    there = {sibling.rfilename: sibling for sibling in info.siblings or []}
    for name in REQUIRED:
        if name not in there:
            raise HubError(f"{asked}: has no {name}{_but(sorted(there))}")
    return str(info.sha), [_checked(asked, name, there[name]) for name in FILES if name in there]


def _but(names: list[str]) -> str:
    """What to do with a repository of such files that lacks some of ours."""
    pickles = [name for name in names if name.endswith(PICKLES)]
    if pickles:
        return (
            f", only {pickles[0]}, a pickle, which can hold code and is never loaded; download it yourself and turn it "
            "into a checkpoint with `waveglow convert FILE OUT`, which reads tensors alone"
        )
    return f", so it is no checkpoint of waveglow; its files: {', '.join(names[:8]) or 'none'}"


def _checked(asked: Reference, name: str, sibling: Any) -> HubFile:
    found = str(sibling.lfs.sha256 if sibling.lfs else sibling.blob_id)
    if not HASH.fullmatch(found) or not isinstance(sibling.size, int):
        raise HubError(f"{asked}: the hub tells no hash or no size of {name}; is HF_ENDPOINT right?")
    if not 0 < sibling.size <= MOST_BYTES[name]:
        raise HubError(f"{asked}: its {name} has {sibling.size:,} bytes; from 1 to {MOST_BYTES[name]:,} are taken")
    return HubFile(name, sibling.size, found)


def _download(
    library: ModuleType,
    api: HfApi,
    pinned: Reference,
    cached: CachedRepository,
    files: list[HubFile],
    *,
    check: Callable[[Path], object],
) -> None:
    cache = cached.folder.parent
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".waveglow-", dir=cache) as folder:  # to be moved, not copied
        staged = Path(folder)
        for file in files:
            if cached.blob(file).is_file():  # of another commit
                (staged / file.name).symlink_to(cached.blob(file))
            else:
                with _told(pinned, library):
                    api.hf_hub_download(pinned.repository, file.name, revision=pinned.revision, local_dir=staged)
            if digest(staged / file.name, like=file.hash) != file.hash:
                raise HubError(f"{pinned}: {file.name} came damaged, its hash is another than the hub lists; try again")
            if file.name == CONFIG:
                check(staged)
        cached.keep(pinned.revision, files, staged)


@contextlib.contextmanager
def _told(asked: Reference, library: ModuleType) -> Iterator[None]:
    """What huggingface_hub raises within, as HubError of one sentence; a full disk and the like stay what they are."""
    errors = library.errors
    http_error = next(base for base in errors.HfHubHTTPError.__mro__ if base.__name__ == "HTTPError")
    client = sys.modules[http_error.__module__.partition(".")[0]]  # httpx, or httpx2 since huggingface_hub 2
    try:
        yield
    except HubError:
        raise
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, http_error, client.InvalidURL) as error:
        raised = _cause(error)
        if isinstance(raised, OSError) and raised.errno and not isinstance(raised, ConnectionError):
            raise
        if isinstance(raised, errors.OfflineModeIsEnabled):
            raise UnreachableError(f"{asked}: HF_HUB_OFFLINE is set") from error
        response = getattr(raised, "response", None)
        if response is None and isinstance(raised, (http_error, ConnectionError)):
            raise UnreachableError(f"{asked}: the hub can't be reached ({_line(raised)})") from error
        if response is not None and response.status_code >= 500:
            raise UnreachableError(f"{asked}: the hub answers {response.status_code}, try again later") from error
        raise HubError(f"{asked}: {_reason(raised, errors)}") from error


def _cause(error: BaseException) -> BaseException:
    """What stands behind a general error of huggingface_hub's: that of the network behind that of a file not found."""
    return error.__cause__ if error.__cause__ and isinstance(error, (FileNotFoundError, RuntimeError)) else error


def _reason(error: BaseException, errors: ModuleType) -> str:
    if isinstance(error, errors.GatedRepoError):
        return f"is gated: ask for access on its page, then {LOG_IN}"
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"the hub has no such repository, or it is private: check the name, or {LOG_IN}"
    if isinstance(error, errors.RevisionNotFoundError):
        return "has no such branch, tag or commit"
    response = getattr(error, "response", None)
    if response is not None and response.status_code in (401, 403):
        return f"the hub doesn't allow it ({response.status_code}: {_line(error)}); {LOG_IN}, with a token that may"
    if response is not None:
        return f"the hub answers {response.status_code} ({_line(error)})"
    if isinstance(error.__cause__, errors.HfHubHTTPError):
        return f"the hub doesn't take it ({_line(error)})"
    if isinstance(error, OSError) and not isinstance(error, errors.FileMetadataError):
        return f"the download broke off ({_line(error)}); try again"
    return f"what the hub answers can't be read ({_line(error)}); is HF_ENDPOINT right?"


def _line(error: BaseException) -> str:
    """An error's message on one line, or its kind."""
    said = getattr(error, "server_message", None) or str(error)
    return " ".join(said.split())[:300] or type(error).__name__
