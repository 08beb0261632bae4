"""A stand-in for a container where there is no engine: the image's tree installed from the wheel, and the
image's own commands run in it as its user, without capabilities, on a read-only file system."""

import http.client
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from contextlib import contextmanager
from pathlib import Path

from image_file import ROOT, read_stages

# Its own mount and process namespace, as an engine makes them; data and /tmp stay writable.
ENTER = """
mount --bind "$DATA" "$DATA" && mount --bind "$MODELS" "$MODELS" && mount -t tmpfs -o mode=1777 tmpfs "$TMPDIR"
mount -o remount,bind,ro / && exec "$@"
"""


class Image:
    """The file tree that the Dockerfile makes, under a directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.stages = read_stages()
        self.runtime = self.stages["runtime"]
        self.wheel = self._build_wheel()
        self._install()

    def _build_wheel(self):
        source = self.root / "src"
        source.mkdir()
        for name in self.stages["wheel"].copied():
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / name, source / name)
        _pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", self.root / "dist", source)
        return next((self.root / "dist").glob("*.whl"))

    def _install(self):
        venv = self.root / "opt/sonoseek"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
        python = venv / "bin/python"
        _pip("--python", python, "install", "--no-deps", "--no-index", self.wheel)
        # The dependencies are those of this environment; its own editable install is not seen, a .pth
        # file in a folder that another .pth names is not read.
        (venv / "lib/python3.11/site-packages/dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
        for path in [venv, *venv.rglob("*")]:
            if not path.is_symlink():
                path.chmod(path.stat().st_mode & ~0o222 | 0o444 | (0o111 if path.is_dir() else 0))

    def container(self, *, init=True, **settings):
        """A fresh container with an empty data volume; settings are SONOSEEK variables without the prefix.

        With ``init`` an init process stands before the command, else the command is the first process.
        """
        return Container(self, self.root / f"run-{secrets.token_hex(4)}", init, settings)


class Container:
    """Volumes, secrets and environment of one container, and commands run in it."""

    def __init__(self, image: Image, root: Path, init: bool, settings: dict[str, str]) -> None:
        self.image, self.root, self.init = image, root, init
        for name in ("data", "models", "tmp", "secrets", "etc/sonoseek"):
            (root / name).mkdir(parents=True)
        self.port = _free_port()
        self.settings = {"SERVER__PORT": str(self.port), **settings}
        self._hand_over(root / "data", root / "models")

    def secret(self, name):
        """The file of a secret that make_secrets.sh wrote, outside the data volume."""
        folder = self.root / "secrets"
        subprocess.run(["sh", ROOT / "deploy/make_secrets.sh", folder], check=True, stdout=subprocess.DEVNULL)
        folder.chmod(0o711)  # compose mounts each file; here the way to it must be open
        return folder / name

    def run(self, *command, timeout=120):
        """A command that ends, as its completed process."""
        with self.started(*command) as process:
            out, err = process.communicate(timeout=timeout)
            return subprocess.CompletedProcess(command, process.returncode, out, err)

    @contextmanager
    def started(self, *command):
        with subprocess.Popen(
            [*self._confinement(), *command],
            env=self._environment(),
            cwd=self.root / "etc/sonoseek",
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                if process.poll() is None:
                    self.signal(process, signal.SIGKILL)

    def signal(self, process, number):
        """Send a signal to the command."""
        os.kill(process.pid if self.init or not _is_root() else _first_child(process.pid), number)

    def ask(self, path, *, host=None, method="GET", body=None, headers=None):
        """One request over the published port: status and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, {"Host": host or f"localhost:{self.port}", **(headers or {})})
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def wait_until_ready(self, process, seconds=60):
        until = time.monotonic() + seconds
        while time.monotonic() < until and process.poll() is None:
            try:
                # By address, as an orchestrator asks.
                if self.ask("/health/ready", host=f"192.0.2.7:{self.port}")[0] == 200:
                    return
            except OSError:
                pass
            time.sleep(0.1)
        if process.poll() is None:
            self.signal(process, signal.SIGKILL)
        raise AssertionError(f"not ready: {process.communicate()[1]}")

    def _environment(self):
        places = {"/opt/": f"{self.image.root}/opt/", "/data": f"{self.root}/data", "/models": f"{self.root}/models"}
        environment = self.image.runtime.environment()
        for place, here in places.items():
            environment = {name: value.replace(place, here, 1) for name, value in environment.items()}
        ours = {f"SONOSEEK_{name}": value for name, value in self.settings.items()}
        folders = {name.upper(): f"{self.root}/{name}" for name in ("data", "models")}
        return {**environment, **ours, **folders, "TMPDIR": f"{self.root}/tmp", "HOME": "/nonexistent"}

    def _confinement(self):
        if not _is_root():
            return []
        uid, gid = self.image.runtime.user()
        user = [f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "--bounding-set=-all", "--no-new-privs"]
        processes = [] if self.init else ["--pid", "--fork"]
        return ["/usr/bin/unshare", "--mount", *processes, "/bin/sh", "-ec", ENTER, "sh", "/usr/bin/setpriv", *user]

    def _hand_over(self, *folders):
        if _is_root():
            for folder in folders:
                os.chown(folder, *self.image.runtime.user())
                folder.chmod(0o750)


def may_confine():
    """Whether this machine lets us change user and mounts, and lets that user read this environment."""
    if not _is_root():
        return True
    script = ["unshare", "--mount", "--pid", "--fork", "sh", "-c", "mount -o remount,bind,ro / && exec setpriv "]
    script[-1] += f"--reuid=10001 --regid=10001 --clear-groups {sys.executable} -c 'import uvicorn'"
    return subprocess.run(script, check=False, capture_output=True).returncode == 0


def _pip(*arguments):
    subprocess.run([sys.executable, "-m", "pip", "--quiet", *arguments], check=True)


def _first_child(pid):
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _is_root():
    return os.geteuid() == 0
