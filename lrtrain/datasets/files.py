"""Files that datasets are read from: found, fetched, and refused in one line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from lrtrain.errors import RequestError, first_line


@contextmanager
def reading(what: object) -> Iterator[None]:
    """Say in one line what cannot be read, whatever reading it runs into.

    Raises:
        RequestError: In the place of any other error.
    """
    try:
        yield
    except RequestError:
        raise
    except UnicodeDecodeError:
        raise RequestError(f"{what} is not a text in UTF-8") from None
    except Exception as error:  # a damaged file can raise anything
        reason = error.strerror if isinstance(error, OSError) and error.strerror else first_line(error)
        raise RequestError(f"{what} cannot be read: {reason}") from error


def given(path: str | None, key: str) -> Path:
    """The file that a key names.

    Raises:
        RequestError: The key is not set, or there is no such file.
    """
    if path is None:
        raise RequestError(f"give {key}=FILE")
    with reading(f"{key}={path}"):
        file = Path(path).expanduser()
        if not file.is_file():
            raise RequestError(f"{key}={path}: there is no such file{' (it is a folder)' if file.is_dir() else ''}")
    return file


def version(file: Path) -> tuple[int, ...]:
    """Tells whether a file is still the same."""
    with reading(file):
        status = file.stat()
    return status.st_size, status.st_mtime_ns


def public(dataset: str, data_dir: str, files: Mapping[str, str], url: str) -> Path:
    """The folder that has a public dataset's files: `data_dir`/`dataset`, or `data_dir` itself.

    What is missing in both is fetched into the first.

    Args:
        dataset: Its name.
        data_dir: Where datasets are kept.
        files: Each file's name, with the md5 checksum of what is fetched.
        url: The folder that they are fetched from.

    Raises:
        RequestError: They cannot be fetched; says which files, from where, and where to put them.
    """
    with reading(f"dataset.data_dir={data_dir}"):
        home = Path(data_dir).expanduser()
        for folder in (home / dataset, home):
            if all((folder / name).is_file() for name in files):
                return folder
        missing = [name for name in files if not (home / dataset / name).is_file()]
        made = [folder for folder in (home / dataset, home, *home.parents) if not folder.exists()]
    try:
        for name in missing:
            _fetch(f"{url}/{name}", files[name], home / dataset / name)
    except Exception as error:  # of the network, of the disk, of the checksum
        with suppress(OSError):
            for folder in made:
                folder.rmdir()
        raise RequestError(
            f"dataset={dataset} needs {', '.join(missing)} in {home / dataset}, and they could not be fetched "
            f"({type(error).__name__}): put them there from {url}, or name their folder by dataset.data_dir="
        ) from error
    return home / dataset


def _fetch(url: str, md5: str, file: Path) -> None:
    import pooch

    pooch.get_logger().setLevel("WARNING")
    print(f"fetching {url} into {file.parent}")
    downloader = pooch.HTTPDownloader(timeout=30)
    pooch.retrieve(url, f"md5:{md5}", fname=file.name, path=file.parent, downloader=downloader)
