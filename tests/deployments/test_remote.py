"""A real SSH server in a folder of its own: what runs there outlives the connection."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from configs.errors import RequestError, RunError
from deployments import detached, remote
from deployments.processes import find_process
from deployments.ssh import Host
from tests.cluster import find_free_port
from tests.flows.running import ROOT, SECONDS, make_environment, wait_for

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile {folder}/sshd.pid
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
"""
WAITING = """
import pathlib, time
print('begun', flush=True)
while not pathlib.Path('{}').exists():
    time.sleep(0.1)
print('done')
raise SystemExit(2)
"""
JOB = (
    "import time; print('begun', flush=True); time.sleep({0}); print('done'); raise SystemExit({1})"
)


@dataclass(frozen=True)
class Server:
    """An SSH server of this user alone."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def variables(self) -> dict[str, str]:
        options = (
            f"-F /dev/null -p {self.port} -i {self.folder}/key -o StrictHostKeyChecking=no "
            f"-o UserKnownHostsFile={self.folder}/known_hosts -o LogLevel=ERROR"
        )
        return {
            "REMOTE_USER": pwd.getpwuid(os.getuid()).pw_name,
            "REMOTE_HOST": "127.0.0.1",
            "REMOTE_DIR": str(self.folder / "remote dir"),  # a name that a shell would split
            "REMOTE_SSH_OPTIONS": options,
            "REMOTE_PYTHON": sys.executable,
        }


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if not SSHD or not shutil.which("ssh-keygen"):
        pytest.skip("no sshd: apt-get install openssh-server")
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where it confines itself to, as Debian makes it
    folder = tmp_path_factory.mktemp("ssh")
    for name in ("host_key", "key"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(command, check=True)
    shutil.copy(folder / "key.pub", folder / "authorized_keys")
    port = find_free_port()
    (folder / "sshd_config").write_text(CONFIG.format(port=port, folder=folder))
    with (folder / "sshd.log").open("wb") as log:
        process = subprocess.Popen(
            [SSHD, "-D", "-e", "-f", str(folder / "sshd_config")], stdout=log, stderr=log
        )
    try:
        server = Server(folder, port, process)
        with pytest.MonkeyPatch.context() as patch:
            for name, value in server.variables.items():
                patch.setenv(name, value)
            wait_for(lambda: _answers(remote.find_host()), "sshd", seconds=60)
        yield server
    finally:
        process.terminate()
        process.wait(timeout=20)


def _answers(host: Host) -> bool:
    try:
        return host.run("true") == 0
    except RunError:
        return False


@pytest.fixture
def host(sshd: Server, monkeypatch: pytest.MonkeyPatch) -> Host:
    for name, value in sshd.variables.items():
        monkeypatch.setenv(name, value)
    return remote.find_host()


@pytest.fixture
def there(host: Host) -> Path:
    """Our folder there, with the sources in it: a link, since it is the same machine."""
    folder = Path(host.folder)
    folder.mkdir(exist_ok=True)
    if not (folder / "clone").exists():
        (folder / "clone").symlink_to(ROOT)
    return folder


def test_a_job_outlives_its_connection_and_is_found_again(
    host: Host, there: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code = WAITING.format(there / "go")
    assert remote.start(host, "quick", "-c", code) == 0
    first = capfd.readouterr().out
    assert remote.start(host, "quick", "-c", code) == 0  # the same one is not started twice
    assert capfd.readouterr().out == first
    assert remote.start(host, "quick", "-c", JOB.format(0, 0)) == RequestError.exit_code
    assert "is at work on something else" in capfd.readouterr().err
    busy = remote.send_sources(host)
    assert busy == RequestError.exit_code
    assert (there / "clone").is_symlink()  # nothing was replaced below a job
    (there / "go").touch()
    assert remote.follow(host, "quick") == 2  # its own exit code
    assert capfd.readouterr().out.splitlines()[-2:] == ["begun", "done"]
    assert remote.follow(host, "other") == RequestError.exit_code
    assert "no job 'other'; allowed: quick" in capfd.readouterr().err.replace("NAME: ", "")


def test_a_job_is_stopped_with_what_it_started(host: Host, there: Path) -> None:
    assert remote.start(host, "long", "-c", JOB.format(300, 0)) == 0
    assert remote.act(host, "stop", ["long"]) == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HONE_HOME", str(there / "home"))
        job = detached.find_job("long")
    assert job is not None
    assert find_process(job) is None
    assert remote.follow(host, "long") in {RunError.exit_code, 128 + signal.SIGTERM}


def test_sources_arrive_whole_and_replace_the_old_ones(host: Host, tmp_path: Path) -> None:
    target = Host(host.user, host.name, str(tmp_path / "new"), host.options, host.python)
    (tmp_path / "new" / "clone" / ".venv").mkdir(parents=True)
    (tmp_path / "new" / "clone" / "gone.py").touch()
    target.send(["Makefile", "flows/cli.py"], ROOT, remote.UNPACK)
    clone = tmp_path / "new" / "clone"
    assert (clone / "flows" / "cli.py").read_bytes() == (ROOT / "flows" / "cli.py").read_bytes()
    assert sorted(path.name for path in clone.iterdir()) == [".venv", "Makefile", "flows"]


def test_what_was_published_is_fetched(
    host: Host, there: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RunError, match="nothing was fetched"):
        remote.fetch_models(host)
    version = there / "home" / "artifacts" / "models" / "small" / "1"
    version.mkdir(parents=True)
    (version / "weights").write_text("1.5")
    run = there / "home" / "outputs" / "runs" / "one"
    run.mkdir(parents=True)
    (run / "report.md").write_text("better")
    (run.parent / "latest").symlink_to("one")
    for _ in range(2):  # again: the same
        remote.fetch_models(host)
    fetched = home / "remote" / "127.0.0.1"
    assert (fetched / "artifacts" / "models" / "small" / "1" / "weights").read_text() == "1.5"
    assert (fetched / "outputs" / "runs" / "latest" / "report.md").read_text() == "better"
    assert str(fetched / "artifacts" / "models" / "small" / "1") in capsys.readouterr().out
    shutil.rmtree(there / "home" / "artifacts")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"REMOTE_HOST": ""}, RequestError, "REMOTE_HOST: it is not set"),
        ({"REMOTE_HOST": "-oProxyCommand=x"}, RequestError, "a host's name"),
        ({"REMOTE_SSH_OPTIONS": "-F /dev/null -p 9"}, RunError, "no connection to"),
    ],
)
def test_what_cannot_be_reached_is_one_clear_error(
    host: Host, change: dict[str, str], error: type[Exception], message: str,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    for name, value in change.items():
        monkeypatch.setenv(name, value)
    assert remote.main(["logs"]) == error("").exit_code  # type: ignore[attr-defined]
    assert message in capsys.readouterr().err


@pytest.mark.long
@pytest.mark.slow
def test_a_run_goes_on_when_the_connection_is_cut(
    sshd: Server, there: Path, preset: Path, home: Path
) -> None:
    environment = make_environment(home, **sshd.variables)
    command = [sys.executable, "-m", "deployments.remote"]

    def begin(*words: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*command, *words], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip

    log = there / "home" / ".services" / "jobs" / "run.log"
    wait_until = _wait_for_text(log)
    first = begin("run", str(preset))
    wait_until("evaluate baseline")  # the training comes next
    os.killpg(first.pid, signal.SIGKILL)  # ssh too: the line is dead
    first.wait()
    time.sleep(1)
    again = begin("run", str(preset))
    assert again.wait(timeout=SECONDS) == 0, log.read_text()
    assert log.read_text().count("version:") == 1  # one run, not two
    assert begin("fetch").wait(timeout=60) == 0
    (model,) = (home / "remote" / "127.0.0.1" / "artifacts" / "models" / "small").glob("[0-9]*")
    assert (model / "adapter_model.safetensors").is_file() or any(model.rglob("*.safetensors"))


def _wait_for_text(log: Path) -> Callable[[str], None]:
    def wait(text: str) -> None:
        wait_for(lambda: log.is_file() and text in log.read_text(), f"{text!r} in {log}")

    return wait
