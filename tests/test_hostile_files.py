"""Files that were made to harm run nothing, lead nowhere and take no memory: each ends as an error of ours."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from worldmodel.checkpoint import Contexts, read_checkpoint, write_checkpoint
from worldmodel.errors import CheckpointError
from worldmodel.files import MANIFEST, atomic_folder
from worldmodel.pretrained import from_pretrained
from worldmodel.spec import EnvSpec

pytestmark = pytest.mark.faults

ROOT = Path(__file__).resolve().parent.parent
SPEC = EnvSpec("line", "reach", "box", 2, (-1.0, -1.0), (1.0, 1.0), 4, 0, (16, 16))


def contexts() -> Contexts:
    return Contexts(torch.zeros(1, 2, 3, 16, 16, dtype=torch.uint8), torch.zeros(1, 1, 2))


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A whole one, of no model."""
    folder = tmp_path / "whole"
    weights = {"w": torch.arange(4.0)}
    write_checkpoint(folder, model_config={}, spec=SPEC, weights=weights, contexts=contexts(), trainer={"updates": 3})
    return folder


def foreign(checkpoint: Path, name: str, write: Callable[[Path], Any]) -> Path:
    """A copy with one file written anew, and a manifest that is right: whoever made it meant it."""
    folder = checkpoint.with_name(f"foreign-{len(list(checkpoint.parent.iterdir()))}")
    with atomic_folder(folder) as temporary:
        shutil.copytree(checkpoint, temporary, dirs_exist_ok=True)
        write(temporary / name)
    return folder


class Harm:
    """Pickled, it makes a file where it is read."""

    def __init__(self, command: Any, *arguments: Any) -> None:
        self.command = command, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.command


HARM = {
    "os.system": Harm(os.system, "touch harmed"),
    "subprocess": Harm(subprocess.Popen, ("touch", "harmed")),
    "eval": Harm(eval, "__import__('os').system('touch harmed')"),
    "import": Harm(__import__, "antigravity"),
    "a gigantic array": Harm(bytearray, 2**45),
}


@pytest.mark.parametrize("kind", HARM)
@pytest.mark.parametrize("way", ["zip", "legacy", "plain"])
def test_a_trainers_state_runs_nothing(checkpoint: Path, kind: str, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(checkpoint.parent)

    def write(path: Path) -> None:
        if way == "plain":
            path.write_bytes(pickle.dumps({"trainer": HARM[kind]}))
        else:
            torch.save({"trainer": HARM[kind]}, path, _use_new_zipfile_serialization=way == "zip")

    found = read_checkpoint(foreign(checkpoint, "trainer.pt", write))
    with pytest.raises(CheckpointError, match=r"trainer\.pt"):
        found.trainer()
    assert not Path("harmed").exists()


def packed(path: Path, *, names: tuple[str, ...] = (), size: int = 0) -> None:
    """A zip file as torch makes it, with entries of other names, or with one that grows to `size` bytes."""
    torch.save({"updates": torch.zeros(3)}, path)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, b"x")
        if size:
            archive.writestr("trainer/data/1", bytes(size))


def test_zip_files_neither_lead_out_nor_grow(checkpoint: Path) -> None:
    folder = foreign(checkpoint, "trainer.pt", lambda path: packed(path, names=("../../harmed", "/tmp/harmed")))
    with suppress(CheckpointError):
        read_checkpoint(folder).trainer()
    assert not list(checkpoint.parent.rglob("harmed"))
    folder = foreign(checkpoint, "trainer.pt", lambda path: packed(path, size=10**8))
    with pytest.raises(CheckpointError, match="bytes would become 100"):
        read_checkpoint(folder).trainer()
    folder = foreign(checkpoint, "trainer.pt", lambda path: torch.save([1, 2], path))
    with pytest.raises(CheckpointError, match="holds a list"):
        read_checkpoint(folder).trainer()


TARGETS = {"_target_": "os.system", "_args_": ["touch harmed"]}


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (TARGETS, "model cannot be used as given"),
        ({"layer": TARGETS}, "model cannot be used as given"),
        ([TARGETS], "model cannot be used as given|model_config"),
        (None, "model"),
    ],
)
def test_a_checkpoints_configuration_makes_no_object(
    checkpoint: Path, config: Any, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(checkpoint.parent)

    def write(path: Path) -> None:
        path.write_text(json.dumps({**json.loads(path.read_text()), "model": config}))

    with pytest.raises(CheckpointError, match=says):
        from_pretrained(foreign(checkpoint, "config.json", write))
    assert not Path("harmed").exists()


def headers() -> Iterator[tuple[str, bytes]]:
    """Safetensors files that claim what is not so, and a manifest's worth of JSON that nests."""

    def file(entries: dict[str, Any] | bytes, data: bytes = bytes(64), length: int | None = None) -> bytes:
        text = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
        return (len(text) if length is None else length).to_bytes(8, "little") + text + data

    def tensor(dtype: str = "F32", shape: Any = (4,), offsets: Any = (0, 16)) -> dict[str, Any]:
        return {"frames": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}

    yield "empty", b""
    yield "short", b"\x01"
    for name, length in (("2**63", 2**63), ("2**64-1", 2**64 - 1), ("10 GB", 10**10)):
        yield f"header of {name}", file(tensor(), length=length)
    yield "overlap", file({"a": tensor()["frames"], "b": tensor(offsets=(8, 24))["frames"]})
    yield "negative", file(tensor(offsets=(-16, 0)))
    yield "backwards", file(tensor(offsets=(16, 0)))
    yield "beyond the end", file(tensor(shape=(10**9,), offsets=(0, 4 * 10**9)))
    yield "unknown type", file(tensor(dtype="F99"))
    yield "overflow", file(tensor(shape=(2**40, 2**40), offsets=(0, 16)))
    yield "2**63", file(tensor(shape=(2**63,), offsets=(0, 2**63)))
    yield "huge number", file(b'{"frames":{"dtype":"F32","shape":[' + b"9" * 5000 + b'],"data_offsets":[0,16]}}')
    yield "negative shape", file(tensor(shape=(-4,)))
    yield "a string for a shape", file(tensor(shape="4"))
    yield "nesting", file(b"[" * 200_000)
    yield "nested objects", file(b'{"a":' * 200_000)
    yield "a list", file(b"[]")
    yield "twice", file(b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"a":3}')
    yield "no text", file(b"\xff\xfe" * 20)


HOSTILE = """
import json, resource, sys
from pathlib import Path
from worldmodel.checkpoint import read_checkpoint
from worldmodel.episode import load_episode, read_header
from worldmodel.errors import WorldModelError
from worldmodel.metrics.networks import read_weights
from worldmodel.pretrained import from_pretrained

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

before, escaped, told = peak(), [], 0
limit = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + 2**31
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
READ = {"checkpoint": read_checkpoint, "model": from_pretrained, "episode": load_episode, "header": read_header}
READ["weights"] = read_weights
for kind, path in json.loads(sys.argv[1]):
    try:
        READ[kind](Path(path))
        escaped.append(f"{kind} {path} was read")
    except WorldModelError as error:
        told += 1
        if "Memory" in str(error) or len(str(error)) > 2000:
            escaped.append(f"{kind} {path}: {error!s:.300}")
    except BaseException as error:
        escaped.append(f"{kind} {path}: {error!r:.300}")
print(json.dumps([told, escaped, peak() - before]))
"""


def test_files_that_claim_too_much_take_no_memory(checkpoint: Path, tmp_path: Path) -> None:
    """In a process that may take 2 GB more than it has."""
    calls = []
    for number, (_, data) in enumerate(headers()):
        path = tmp_path / f"{number}.safetensors"
        path.write_bytes(data)
        calls += [(kind, str(path)) for kind in ("episode", "header", "weights")]
        for name in ("model.safetensors", "contexts.safetensors"):
            calls.append(("checkpoint", str(foreign(checkpoint, name, lambda path, data=data: path.write_bytes(data)))))
    for changes in ({"layers": 10**9}, {"K": 1e300}, {"hidden": 2**62}, {"stages": [[8, 10**9]]}, {"feature": 2**19}):
        calls.append(("model", str(claiming(checkpoint, changes))))
    command = [sys.executable, "-c", HOSTILE, json.dumps(calls)]
    variables = os.environ | {"PYTHONPATH": str(ROOT)}
    outcome = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=240)
    assert outcome.returncode == 0, outcome.stderr[-2000:]
    told, escaped, megabytes = json.loads(outcome.stdout)
    print(f"{told} of {len(calls)} hostile files told, {megabytes:.0f} MB taken at most")
    assert escaped == []
    assert megabytes < 500


def claiming(checkpoint: Path, changes: dict[str, Any]) -> Path:
    """A checkpoint whose configuration is that of a model of any size."""
    model = {"layer": "dense", "recurrence": "lstm", "features": "frame", "backbone": "vgg", "K": 1.0, "M": 1.0}
    model |= {"stages": [[8, 1]], "patch": 2, "feature": 8, "hidden": 8, "layers": 1, "latent": 4, "head": 8}
    model |= {"advance": "residual", "skips": False} | changes

    def write(path: Path) -> None:
        path.write_text(json.dumps({**json.loads(path.read_text()), "model": model}))

    return foreign(checkpoint, "config.json", write)


def test_manifests_are_checked_to_the_letter(checkpoint: Path) -> None:
    listed = json.loads((checkpoint / MANIFEST).read_text())["sha256"]
    for text in ("[" * 200_000, '{"sha256":' * 100_000, '{"sha256": {"a": ' + "9" * 10_000 + "}}", "\ud800"):
        (checkpoint / MANIFEST).write_bytes(text.encode(errors="surrogatepass"))
        with pytest.raises(CheckpointError, match=r"manifest\.json is damaged"):
            read_checkpoint(checkpoint)
    twice = json.dumps(listed)[:-1] + ', "config.json": "' + "0" * 64 + '"}'
    (checkpoint / MANIFEST).write_text('{"schema_version": 1, "sha256": ' + twice + "}")
    with pytest.raises(CheckpointError, match=r"config\.json is damaged"):
        read_checkpoint(checkpoint)
