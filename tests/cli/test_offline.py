"""No command sends anything over the network: each runs without routes and with a hook on all calls."""

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from softgate_ext.cli.run import COMMANDS
from softgate_ext.data.synthetic import draw_people
from softgate_ext.prediction.detection_networks import BlazePoseDetector, SsdLite
from softgate_ext.prediction.video import Frame, VideoWriter

pytestmark = pytest.mark.slow
OFFLINE = Path(__file__).parent / "offline"
ROOT = Path(__file__).parents[2]
TRAIN = (
    "train people --out run --model hybrid_1x32 --model-options width 8 depth 2 groups 1 "
    "--image-size 64 --batch-size 4 --workers 1 --threads 1 --epochs 1 --device cpu --tensorboard"
)
LINES = {
    "info": ["info"],
    "profile": ["profile hybrid_1x32"],
    "synth": ["synth drawn --count 4"],
    "data check": ["data check people --sheet sheet.png"],
    "data cache": ["data cache people --cache crops --image-size 64 --seconds 0.1"],
    "train": [TRAIN],
    "evaluate": ["evaluate run people --device cpu"],
    "predict": [
        "predict run people/images/im0001.jpg --out poses --device cpu",
        "predict run people/images/im0001.jpg --out poses --device cpu --detect",
        "predict run walk.mp4 --out poses --device cpu",
    ],
    "gates": ["gates run --png gates.png --prune 0.01 --out pruned --data people --device cpu"],
    "export": ["export run --out net.onnx"],
    "study": ["study alpha people --out studies --seeds 1 --epochs 1 --threads 1"],
    "demo": ["demo --data people --out demo --minutes 0.02"],
    "serve": ["serve run --port 0 --device cpu", "serve run --port 0 --device cpu --detect"],
}
NEEDS = {
    "--detect": ("openvino", SsdLite.package, BlazePoseDetector.package),
    "walk.mp4": ("av",),
    "export": ("onnx", "onnxscript"),
    "serve": ("starlette", "uvicorn"),
}
# Each of these has a Python of its own; the others are one after another in one, after the training.
ALONE = [line for lines in LINES.values() for line in lines if set(line.split()) & set(NEEDS)]
TOGETHER = [line for lines in LINES.values() for line in lines if line not in (TRAIN, *ALONE)]
ONE_BY_ONE = """
import os, pathlib, shlex, sys
from softgate_ext.cli.run import main
for line in sys.argv[1:]:
    code = main(shlex.split(line))
    assert code == 0 and not pathlib.Path(os.environ["SOFTGATE_OUTWARD"]).read_text(), (line, code)
"""
SERVE = """
import signal, subprocess, sys, urllib.request
page = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, text=True)
address = page.stdout.readline().split()[3]
picture = open("people/images/im0001.jpg", "rb").read()
for path, body in (("/", None), ("/pose", picture)):
    with urllib.request.urlopen(address + path, body) as answer:
        assert answer.status == 200
page.send_signal(signal.SIGTERM)
sys.exit(page.wait(60))
"""


def alone(folder: Path, *words: str) -> tuple[subprocess.CompletedProcess[str], str, int]:
    """What a Python in a network without routes says, and what it sent outward by either count."""
    outward = folder / "outward.txt"
    outward.write_text("")
    env = {name: value for name, value in os.environ.items() if name not in CI}
    env["PYTHONPATH"] = os.pathsep.join([str(OFFLINE), str(ROOT), env.get("PYTHONPATH", "")])
    env |= {"SOFTGATE_OUTWARD": str(outward), "HOME": str(folder)}
    command = ["unshare", "--net", "--map-root-user", sys.executable, str(OFFLINE / "alone.py")]
    done = subprocess.run(
        [*command, sys.executable, *words],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.stderr, done
    return done, outward.read_text(), int(done.stderr.splitlines()[-1])


CI = ("CI", "TF_BUILD", "JENKINS_URL")  # where OpenVINO is silent by itself


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn people, and a run."""
    command = ["unshare", "--net", "--map-root-user", "true"]
    if shutil.which("unshare") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("needs a network namespace: unshare --net is not permitted here")
    folder = tmp_path_factory.mktemp("offline")
    draw_people(folder / "people", 8, seed=5, image_size=80)
    if importlib.util.find_spec("av") is not None:
        film = VideoWriter(folder / "walk.mp4", 25, 60, 80)
        film.write(Frame(np.zeros((60, 80, 3), np.uint8), 0.0))
        film.close()
    assert softgate(folder, TRAIN) == ("", 0)
    assert any((folder / "run" / "tensorboard").iterdir())
    return folder


def softgate(folder: Path, line: str) -> tuple[str, int]:
    words = ["-m", "softgate_ext.cli", *shlex.split(line)]
    if line.startswith("serve"):
        words = ["-c", SERVE, sys.executable, *words]
    return said(folder, *words)


def said(folder: Path, *words: str) -> tuple[str, int]:
    done, outward, lost = alone(folder, *words)
    assert done.returncode == 0, done.stderr
    return outward, lost


def test_each_command_is_here() -> None:
    assert set(LINES) == set(COMMANDS)


def test_nothing_leaves_this_machine_by_one_command_after_another(folder: Path) -> None:
    assert said(folder, "-c", ONE_BY_ONE, *TOGETHER) == ("", 0)


@pytest.mark.parametrize("line", ALONE)
def test_nothing_leaves_this_machine(folder: Path, line: str) -> None:
    for word, packages in NEEDS.items():
        absent = [name for name in packages if importlib.util.find_spec(name) is None]
        if word in line.split() and absent:
            pytest.skip(f"needs {absent[0]}, which is not installed")
    assert softgate(folder, line) == ("", 0)
    assert not (folder / "intel").exists()  # where OpenVINO keeps who is counted


def test_what_openvino_sends_by_itself_is_seen(folder: Path) -> None:
    """From a process that it forks, which says nothing where it fails."""
    pytest.importorskip("openvino_telemetry", reason="needs openvino_telemetry")
    done, outward, _ = alone(folder, "-c", "import openvino")
    assert done.returncode == 0 and "google-analytics" in outward, (done.stderr, outward)


@pytest.mark.parametrize(
    "call",
    [
        "socket.create_connection(('203.0.113.7', 80))",
        "socket.socket(type=socket.SOCK_DGRAM).sendto(b'', ('203.0.113.7', 80))",
        "socket.gethostbyname('example.invalid')",
        "__import__('urllib.request').request.urlopen('http://example.invalid')",
    ],
)
def test_the_hook_sees_it(folder: Path, call: str) -> None:
    done, outward, _ = alone(folder, "-c", f"import socket; {call}")
    assert done.returncode == 1 and "PermissionError" in done.stderr
    assert outward.startswith("socket."), outward


def test_the_network_counts_what_is_not_python(folder: Path) -> None:
    """An audit hook does not see the C library's own calls."""
    program = (
        "import ctypes, socket; c = ctypes.CDLL(None); s = c.socket(2, 2, 0); "
        "a = b'\\2\\0\\0\\x50' + socket.inet_aton('203.0.113.7') + bytes(8); "
        "c.sendto(s, b'x', 1, 0, a, 16)"
    )
    done, outward, lost = alone(folder, "-c", program)
    assert done.returncode == 0 and outward == "" and lost > 0
