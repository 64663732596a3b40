"""Exact results of a fixed list of commands and calls: does a change of the code change them?

    PYTHONPATH=recipes python -m lab.golden record OUT.json    # before the change
    PYTHONPATH=recipes python -m lab.golden check OUT.json     # after it

`check` ends with 1 where anything differs by a bit, and names it. What runs is the `ansm_plugin`
that Python finds first (`PYTHONPATH=CHECKOUT:recipes` chooses), on one core of the CPU, in a
temporary folder: two minutes of its time. Rounding depends on processor and packages, so both
belong on one machine; OUT.json says which.
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

import ansm_plugin
from ansm_plugin import DefendedLocalizer, load_ansm, load_pretrained, save_ansm, wrap_with_ansm
from ansm_plugin.backbones.reference import SMALL_LOCALIZER, build_localizer, packaged_ansm
from lab.exact import Results, below, flat, pixels_of, summed, tensors_of

LOCALIZER, PACKAGED = "forensic-unet", "packaged.safetensors"
SIZES, GRAINS = ((64, 64), (70, 53)), (5, 25)  # without and with what looks like an attack
_CLI = "import sys; from ansm_plugin.cli import main; sys.exit(main(sys.argv[1:]))"
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

ATTACK = (
    "attack --attacks pgd,mifgsm,cospgd,margin,apgd --eps 4 --count 4 --attack-steps 3 --seed 0"
)
EVALUATIONS = {
    "quick": "--quick --count 8 --attack-steps 5",
    "wide": "--count 3 --threat T0,T1,T2,T3,T4,T5 --surrogate encoder --gate --attacks pgd --eps 4 "
    "--attack-steps 2 --white-box-steps 2 --attack-precision fp32 --baselines jpeg,median "
    "--adaptive straight-through,unsaturated,bypass,warm-start,eot",
}
# The built-in images take twice as long.
CALIBRATE = "calibrate --count 16 --images attack/Tp --crop-size 48"
_UNREPEATABLE = ("command", "cost", "versions")  # of the JSON of an evaluation

# What every stage of an ANSM has; the masks that `ansm attack` wrote serve one of them.
# With the choices of version 0.1, whose numbers the record holds.
_STAGE = (
    "--data.count 64 --attacks.steps 2 --attacks.precision fp32 --steps 20 "
    "--attacks.targets truth --data.forgeries.authentic 0"
)
_BUILT_IN = f"{_STAGE} --data.split test"
_FFA = "--ffa.fit.precision fp32 --ffa.fit.batch-size 8"
_MGR = (
    "--mgr.fit.precision fp32 --mgr.fit.batch-size 8 --mgr.target ground_truth "
    "--mgr.original-price 0 --mgr.alignment 0"
)
_HARD = (
    "--hardened.fit.precision fp32 --hardened.fit.batch-size 6 --hardened.target ground_truth "
    "--hardened.original-price 0 --hardened.alignment 0"
)
_CHECKS = (
    "--hardened.checks.every 10 --hardened.checks.steps 3 --hardened.checks.images 8 "
    "--hardened.checks.limit 1"
)
_FIT = "--fit.precision fp32 --fit.batch-size 8"
TRAININGS = {
    "localizer": f"localizer --data.count 64 --steps 20 {_FIT}",
    "taught": f"localizer --data.count 32 --data.split test --steps 5 {_FIT} "
    f"--teacher {LOCALIZER} --hints encoder[3]",
    "ffa": f"ffa {_BUILT_IN} {_FFA} --attacks.attacks mifgsm",
    "mgr": f"mgr {_STAGE} {_MGR} --start ffa/ffa.safetensors --mgr.channel 0.5 "
    "--attacks.attacks hide --images attack/Tp --masks attack/Gt --data.forgeries.size 48",
    "two-stage": f"two-stage {_BUILT_IN} {_FFA} {_MGR}",
    "hardened": f"hardened {_BUILT_IN} {_HARD} {_CHECKS} --tune norm "
    "--start two-stage/mgr.safetensors",
}


def results(folder: Path) -> Iterator[tuple[str, Results]]:
    """Run everything in a folder, each part after those whose files it reads; yield as it goes."""
    shutil.copyfile(packaged_ansm(SMALL_LOCALIZER), folder / PACKAGED)
    yield "python", pair(folder)
    yield "attack", attack(folder)
    for name, options in TRAININGS.items():
        yield f"train/{name}", train(folder, name, options)
    for name, options in EVALUATIONS.items():
        run(folder, f"evaluate {options} --cost-size 32 --json {name}.json")
        fields = json.loads((folder / f"{name}.json").read_text())
        yield f"evaluate/{name}", flat({k: v for k, v in fields.items() if k not in _UNREPEATABLE})
    yield "localize", localize(folder)
    said = run(folder, f"{CALIBRATE} --output scored.safetensors")
    yield "calibrate", said | tensors_of(folder / "scored.safetensors")
    yield "info", info(folder)
    yield "convert", convert(folder)


# --- the parts ----------------------------------------------------------------------------------


def pair(folder: Path) -> Results:
    """Return what the packaged pair answers in Python, and what it saves."""
    localizer: nn.Module = build_localizer(LOCALIZER)
    weights = str(folder / PACKAGED)
    found: Results = {}
    for gate in (False, True):
        defended = wrap_with_ansm(localizer, weights, gate=gate)
        for size in SIZES:
            images = torch.stack([picture(*size, grain=grain) for grain in GRAINS])
            name = f"{size[0]}x{size[1]}{'-gated' if gate else ''}"
            found |= {f"{name}/{k}": v for k, v in answers(defended, images / 255).items()}
    save_ansm(load_ansm(weights), folder / "saved.safetensors")
    defended.save_pretrained(folder / "pretrained")
    again = load_pretrained(folder / "pretrained", localizer)
    found["pretrained/defended"] = summed(again(again.spec.normalise(images / 255)))
    found |= flat(json.loads((folder / "pretrained/config.json").read_text()), "pretrained/config/")
    for name in ("saved", "pretrained/ansm"):
        found |= below(name, tensors_of(folder / f"{name}.safetensors"))
    return found


def answers(defended: DefendedLocalizer[nn.Module], pixels: Tensor) -> Results:
    """Return every output of a pair on pixels `(B, 3, H, W)` in [0, 1], and a gradient."""
    inputs = defended.spec.normalise(pixels).requires_grad_()
    masks = defended(inputs)
    (gradient,) = torch.autograd.grad(masks.sum(), inputs)
    with torch.no_grad():
        return {
            "bare": summed(wrap_with_ansm(defended.localizer)(inputs)),  # an untrained ANSM
            "defended": summed(masks),
            "gradient": summed(gradient),
            "perturbation": summed(defended.perturbation(inputs)),
            "suppressed": summed(defended.suppress(inputs)),
            "attack_score": summed(defended.attack_score(inputs)),
        }


def attack(folder: Path) -> Results:
    """Return the images of five attacks and what is said of them."""
    said = run(folder, f"{ATTACK} --output attack")
    pictures = sorted((folder / "attack").glob("*/*.png"))
    found = {f"{p.parent.name}/{p.name}": pixels_of(p) for p in pictures}
    for name in ("manifest", "dataset"):
        text = (folder / f"attack/{name}.json").read_text()
        found |= flat(json.loads(text), f"{name}/")
    return said | found


def train(folder: Path, name: str, options: str) -> Results:
    """Return the weights and the config that a short training writes."""
    found = run(folder, f"train {options} --output {name}")
    for path in sorted((folder / name).glob("*.*")):
        if path.suffix == ".safetensors":
            found |= below(path.stem, tensors_of(path))
        elif path.suffix == ".toml":
            found |= flat(tomllib.loads(path.read_text()), f"{path.stem}/config/")
    return found


def localize(folder: Path) -> Results:
    """Return masks, overlays and scores of photographs in tiles, and of attacked images."""
    photos = [f"attack/Tp/crop-{n}_pgd-4.png" for n in (1, 2, 3, 4)]
    for grain in GRAINS:
        photos.append(f"grain-{grain}.png")
        pixels = picture(150, 211, grain=grain).permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(folder / photos[-1])
    options = "--gate --abstain --tile 192 --json found.json"
    found = run(folder, f"localize {' '.join(photos)} --output masks {options}")
    for path in sorted((folder / "masks").glob("*.png")):
        found[path.name] = pixels_of(path)
    return found | flat(json.loads((folder / "found.json").read_text()), "json/")


def info(folder: Path) -> Results:
    """Return what is known of the packaged ANSM, and of an adapter."""
    found: Results = {}
    for name, file in {"ansm": PACKAGED, "adapter": "hardened/adapter.safetensors"}.items():
        found |= below(name, run(folder, f"info {file} --json {name}.json"))
        found |= flat(json.loads((folder / f"{name}.json").read_text()), f"{name}/")
    return found


def convert(folder: Path) -> Results:
    """Return what becomes of a checkpoint as a trainer writes it."""
    draw = torch.Generator().manual_seed(0)
    shapes = {"stem.weight": (4, 3, 3, 3), "stem.bias": (4,), "head.weight": (1, 4, 1, 1)}
    state = {f"module.{k}": torch.randn(s, generator=draw) for k, s in shapes.items()}
    checkpoint = {"state_dict": state | {"module.count": torch.tensor(7)}, "epoch": 3}
    torch.save(checkpoint, folder / "checkpoint.pth")
    said = run(folder, "convert checkpoint.pth converted.safetensors")
    return said | tensors_of(folder / "converted.safetensors")


def run(folder: Path, command: str) -> Results:
    """Run `ansm` in a folder, so that no result names a place of this machine; return its lines."""
    home = str(Path(str(ansm_plugin.__file__)).parents[1])  # the one that is imported here
    path = os.pathsep.join([home, *filter(None, [os.environ.get("PYTHONPATH")])])
    fixed = {"PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": "", **dict.fromkeys(_THREADS, "1")}
    fixed |= {"ANSM_LOCALIZER": LOCALIZER}  # where a command names none
    done = subprocess.run(
        [sys.executable, "-P", "-c", _CLI, *shlex.split(command)],
        cwd=folder,
        env=os.environ | fixed,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        sys.exit(f"`ansm {command}` ended with {done.returncode}:\n{done.stderr}")
    return {f"stdout/{n}": line for n, line in enumerate(done.stdout.splitlines())}


def picture(height: int, width: int, *, grain: int) -> Tensor:
    """Return smooth noise under fine noise of at most `grain` levels, `(3, H, W)` uint8."""
    draw = torch.Generator().manual_seed(width)
    coarse = torch.rand(1, 3, 6, 8, generator=draw)
    smooth = nn.functional.interpolate(coarse, (height, width), mode="bilinear")[0]
    return (230 * smooth + grain * torch.rand(3, height, width, generator=draw)).byte()


# --- record and check ---------------------------------------------------------------------------


def collect() -> Results:
    """Return all results; say on stderr which parts are done."""
    torch.set_num_threads(1)
    found: Results = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, part in results(Path(folder)):
            print(f"{name}: {len(part)} results", file=sys.stderr, flush=True)
            found |= below(name, part)
    return found


def machine() -> dict[str, str]:
    """Return what decides rounding beside the code."""
    processor = f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    return {"processor": processor, "torch": torch.__version__, "python": platform.python_version()}


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each key whose values differ in any bit or whose value is missing."""
    for key in sorted(before.keys() | after.keys()):
        # As text: 1 is not 1.0 or true, 0.0 is not -0.0, but NaN is NaN.
        old, new = (json.dumps(r[key]) if key in r else "nothing" for r in (before, after))
        if old != new:
            yield f"{key}: {old:.100} -> {new:.100}"


def main(arguments: list[str]) -> int:
    """Record or check; return the exit code."""
    if len(arguments) != 2 or arguments[0] not in ("record", "check"):
        sys.exit(__doc__)
    path = Path(arguments[1])
    known = json.loads(path.read_text()) if arguments[0] == "check" else None
    print(f"results of {ansm_plugin.__file__}", file=sys.stderr)
    found = collect()
    if known is None:
        path.write_text(json.dumps({"machine": machine(), "results": found}, indent=1) + "\n")
        return 0
    lines = list(differences(known["results"], found))
    for line in (*differences(known["machine"], machine()), *lines):
        print(line)
    print(f"{len(lines)} of {len(known['results'] | found)} results differ")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
