"""A folder into a repository of a model hub, through huggingface_hub."""

from pathlib import Path

from songbloom.errors import MissingAssetError, SongBloomError


def push(folder: Path, repo: str, *, public: bool = False, message: str) -> str:
    """Upload a folder's files as one commit; the commit's address.

    A repository that is not there is made, private unless `public`. Whoever is logged in pushes
    (`hf auth login`, or HF_TOKEN). `MissingAssetError` without the library or the right to write.
    """
    try:
        import huggingface_hub
        from huggingface_hub import errors
    except ImportError as error:
        raise MissingAssetError(
            "--push needs huggingface_hub, which is not installed",
            "Type: pip install 'songbloom[hub]'",
        ) from error
    try:
        hub = huggingface_hub.HfApi()
        hub.create_repo(repo, private=not public, exist_ok=True)
        commit = hub.upload_folder(
            repo_id=repo, folder_path=folder, commit_message=message, ignore_patterns=[".*"]
        )
        return str(commit.commit_url)
    except errors.HFValidationError as error:
        raise MissingAssetError(
            f"{repo}: not a repository's name", "Name it like OWNER/NAME."
        ) from error
    except errors.LocalTokenNotFoundError as error:
        raise MissingAssetError("--push: nobody is logged in", "Type: hf auth login") from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403, 404):
            raise MissingAssetError(
                f"{repo}: you may not write there ({status})", "Log in: hf auth login"
            ) from error
        raise _unpushed(repo, error) from error
    except Exception as error:  # of the network: httpx's or, of older clients, requests'
        raise _unpushed(repo, error) from error


def _unpushed(repo: str, error: Exception) -> SongBloomError:
    reason = (str(error) or type(error).__name__).splitlines()[0]
    return SongBloomError(
        f"{repo}: cannot be pushed to ({reason})",
        "Type the same with --force: the folder is written, and only the push failed.",
    )
