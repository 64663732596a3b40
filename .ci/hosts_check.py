"""Run IMDLBenCo's unmodified scripts with defended models, and compare with the bare ones.

python .ci/hosts_check.py FOLDER, in an environment with IMDLBenCo and ansm_plugin.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent
F1 = "test_pixel-level F1"
MY_OPTIONS = ["--MyModel_Customized_param", "1", "--pre_trained_weights", "none"]


def main(work: Path) -> None:
    """Do all checks in an empty folder; stop at the first that fails."""
    print(f"IMDLBenCo {version('imdlbenco')}, torch {version('torch')}, numpy {version('numpy')}")
    # The host copies its scripts for the user, with an import of its template of a user's model.
    command(work, "benco init base", [str(BIN / "benco"), "init", "base"])
    tiny_dataset(work / "data")
    (work / "test.json").write_text(json.dumps({"tiny": str(work / "data")}))
    python(work, "checkpoints", CHECKPOINTS)
    python(work, "facts about the host", FACTS)
    command(work, "ansm plugins --check", [str(BIN / "ansm"), "plugins", "--check"])
    for padding in ("--if_padding", "--if_resizing"):
        same_metrics(work, "MyModel", MY_OPTIONS, padding, tolerance=0.0)
        # MantraNet rewrites a weight in every forward pass: it differs from itself by 3e-5.
        same_metrics(work, "MantraNet", [], padding, tolerance=1e-3)
    trains_and_tests(work, "MantraNet", [])
    trains_and_tests(work, "MyModel", MY_OPTIONS)
    same_robustness(work)
    attacked(work)
    mistakes(work)
    print("all checks of the host toolkits passed")


def same_metrics(
    work: Path, model: str, options: list[str], padding: str, *, tolerance: float
) -> None:
    """A fresh ANSM_X with the checkpoint of X reports the metrics of X."""
    common = ["--test_data_json", "test.json", "--checkpoint_path", f"of-{model}", padding]
    bare = scored(work, "bare", "test.py", model, [*common, *options])
    ours = scored(work, "run", "test.py", f"ANSM_{model}", [*common, *options])
    report(f"test.py {padding} {model}", bare, ours)
    assert len(bare) == 1
    assert all(abs(ours[k] - v) <= tolerance for k, v in bare.items())


def same_robustness(work: Path) -> None:
    """The same for test_robust.py where it is seeded: not its noise, nor its JPEG qualities."""
    common = ["--test_data_path", "data", "--if_resizing", *MY_OPTIONS]
    common += ["--checkpoint_path", "of-MyModel/checkpoint-0.pth"]
    bare = scored(work, "bare", "test_robust.py", "MyModel", common)
    ours = scored(work, "run", "test_robust.py", "ANSM_MyModel", common)
    seeded = {k: v for k, v in bare.items() if "Noise" not in k and "Jpeg" not in k}
    report("test_robust.py MyModel, original and blurred", seeded, {k: ours[k] for k in seeded})
    assert bare.keys() == ours.keys()
    assert len(seeded) == 7
    assert all(ours[k] == v for k, v in seeded.items())


def trains_and_tests(work: Path, model: str, options: list[str]) -> None:
    """train.py trains the ANSM alone, against attacks, and test.py reads what it wrote."""
    out = f"trained-{model}"
    attack = ["--ansm_attack", "pgd", "--ansm_eps_255", "4", "--ansm_steps", "2"]
    attack += ["--ansm_localizer", f"{model}.safetensors"]
    data = ["--data_path", "data", "--test_data_path", "test.json", "--if_resizing"]
    fit = ["--epochs", "1", "--batch_size", "2", "--accum_iter", "1", "--warmup_epochs", "0"]
    host(work, "run", "train.py", f"ANSM_{model}", [*data, *fit, *attack, *options], out)
    logged = json.loads((work / out / "log.txt").read_text().splitlines()[-1])
    assert logged["train_attacked_loss"] > 0
    python(work, f"train.py moved the ANSM of {model} alone", MOVED.replace("MODEL", model))
    common = ["--test_data_json", "test.json", "--checkpoint_path", out, "--if_resizing"]
    after = scored(work, "run", "test.py", f"ANSM_{model}", [*common, *options])
    print(f"   after training: {after}")


def attacked(work: Path) -> None:
    """attack_host reports the host's metrics, and T0 as test.py does."""
    arguments = ["--model", "ANSM_MyModel", "--imports", "mymodel", *MY_OPTIONS]
    arguments += ["--checkpoint", "of-MyModel/checkpoint-0.pth", "--test_data_json", "test.json"]
    arguments += ["--attacks", "fgsm", "pgd", "--attack_eps", "8", "--attack_steps", "3"]
    arguments += ["--image_size", "64", "--device", "cpu", "--json", "attacked.json"]
    command(
        work, "attack_host", [sys.executable, "-m", "ansm_plugin.toolkits.attack_host", *arguments]
    )
    rows = json.loads((work / "attacked.json").read_text())["rows"]
    clean, worst = rows[0]["pixel-level AUC"], min(r["pixel-level AUC"] for r in rows)
    print(f"   AUC {clean:.4f} on original images, {worst:.4f} under the worst attack")
    assert worst < clean
    assert [r["threat"] for r in rows] == ["T0", "T0", "T1", "T1", "T1", "T1", "T4"]
    common = ["--test_data_json", "test.json", "--checkpoint_path", "of-MyModel", "--if_resizing"]
    (own,) = scored(work, "bare", "test.py", "MyModel", [*common, *MY_OPTIONS]).values()
    assert abs(rows[0]["pixel-level F1"] - own) < 1e-7


def mistakes(work: Path) -> None:
    """A checkpoint with missing tensors and an absent file are one clear line."""
    common = ["--test_data_json", "test.json", "--if_resizing", *MY_OPTIONS]
    broken = [*common, "--checkpoint_path", "broken"]
    said = host(work, "run", "test.py", "ANSM_MyModel", broken, "out-broken", fails=True)
    assert "1 tensors missing ['demo_layer.bias']" in said
    absent = [*common, "--checkpoint_path", "of-MyModel", "--ansm_weights", "absent.safetensors"]
    said = host(work, "run", "test.py", "ANSM_MyModel", absent, "out-absent", fails=True)
    assert "error: there is no weights file absent.safetensors" in said


# --- how things are run ---------------------------------------------------------------------------


def scored(work: Path, mode: str, script: str, model: str, options: list[str]) -> dict[str, float]:
    """Run a testing script and return its pixel F1 by folder of its logs."""
    out = work / f"out-{mode}-{model}-{script}"
    shutil.rmtree(out, ignore_errors=True)
    host(work, mode, script, model, options, out.name)
    logs = sorted(out.glob("*/log.txt"))
    return {log.parent.name: json.loads(log.read_text())[F1] for log in logs}


def host(
    work: Path,
    mode: str,
    script: str,
    model: str,
    options: list[str],
    out: str,
    *,
    fails: bool = False,
) -> str:
    """Run a script of the host under torchrun, bare or with defended models registered."""
    launch = [
        str(BIN / "torchrun"),
        "--standalone",
        "--nproc_per_node=1",
        str(HERE / "cpu_host.py"),
    ]
    common = ["--model", model, "--device", "cpu", "--image_size", "64", "--num_workers", "0"]
    outputs = ["--output_dir", out, "--log_dir", out]
    arguments = [*launch, mode, f"./{script}", *common, *outputs, *options]
    return command(work, f"{mode} {script} {model}", arguments, fails=fails)


def python(work: Path, what: str, code: str) -> str:
    """Run Python code in the user's folder."""
    return command(work, what, [sys.executable, "-c", code])


def command(work: Path, what: str, arguments: list[str], *, fails: bool = False) -> str:
    """Run a command; show what it said where it did not end as expected."""
    print(f"-- {what}", flush=True)
    done = subprocess.run(arguments, cwd=work, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    if (done.returncode != 0) != fails:
        print(said[-6000:])
        raise SystemExit(f"{what} ended with {done.returncode}")
    return said


def report(what: str, bare: dict[str, float], ours: dict[str, float]) -> None:
    """Print the largest difference of two sets of metrics."""
    largest = max(abs(ours[k] - v) for k, v in bare.items())
    first = next(iter(bare.values()))
    print(f"   {what}: {len(bare)} metrics, largest difference {largest:g}; first {first}")


# --- the user's folder ----------------------------------------------------------------------------


def tiny_dataset(folder: Path) -> None:
    """Write five forged images in the host's folder format, of different heights."""
    rng = np.random.default_rng(0)
    for name in ("Tp", "Gt"):
        (folder / name).mkdir(parents=True)
    for index in range(5):
        image = rng.integers(0, 256, (40 + 4 * index, 64, 3), dtype=np.uint8)
        image[8:24, 8:40] //= 3
        mask = np.zeros(image.shape[:2], np.uint8)
        mask[8:24, 8:40] = 255
        Image.fromarray(image).save(folder / "Tp" / f"{index}.png")
        Image.fromarray(mask).save(folder / "Gt" / f"{index}.png")


CHECKPOINTS = """
import torch
from pathlib import Path
from IMDLBenCo.registry import MODELS
import mymodel
from ansm_plugin.weights.convert import convert_checkpoint

torch.manual_seed(0)
made = {
    "MantraNet": MODELS.get("MantraNet")(device="cpu"),
    "MyModel": MODELS.get("MyModel")(MyModel_Customized_param=1, pre_trained_weights=""),
}
for name, model in made.items():
    folder = Path(f"of-{name}")
    folder.mkdir()
    torch.save({"model": model.state_dict()}, folder / "checkpoint-0.pth")
    convert_checkpoint(folder / "checkpoint-0.pth", Path(f"{name}.safetensors"))
Path("broken").mkdir()
state = made["MyModel"].state_dict()
del state["demo_layer.bias"]
torch.save({"model": state}, "broken/checkpoint-0.pth")
"""
FACTS = """
import inspect, warnings
import ansm_plugin.toolkits.auto
from IMDLBenCo.datasets import denormalize
from IMDLBenCo.registry import MODELS, POSTFUNCS
from IMDLBenCo.transforms import get_albu_transforms
from ansm_plugin.toolkits.imdlbenco import SPEC, register

normalise = get_albu_transforms(type_="resize", output_size=(8, 8)).transforms[1]
assert (tuple(normalise.mean), tuple(normalise.std)) == (SPEC.mean, SPEC.std)
defaults = inspect.signature(denormalize).parameters
assert (tuple(defaults["mean"].default), tuple(defaults["std"].default)) == (SPEC.mean, SPEC.std)
names = register()
assert all(MODELS.has(name) for name in names)
# Registered among the models, but it takes no batch.
assert set(MODELS.module_dict) - {n.removeprefix("ANSM_") for n in names} <= {"SparseViTBackbone"}
assert not MODELS.has("ANSM_SparseViTBackbone")
assert POSTFUNCS.get("ansm_cat_net_post_func") is POSTFUNCS.get("cat_net_post_func")
reads = inspect.signature(MODELS.get("Cat_Net").forward).parameters
assert {"DCT_coef", "qtables"} <= reads.keys()  # by these names we know what is undefended
print(len(names), "models")
"""
MOVED = """
import argparse, torch
from safetensors.torch import load_file

state = torch.load("trained-MODEL/checkpoint-0.pth", weights_only=False)["model"]
before = load_file("MODEL.safetensors")
own = "IMTFE.BayarConv2D.weight"  # MantraNet rewrites it in every forward pass, also in eval mode
assert all(torch.equal(state["localizer." + k], v) for k, v in before.items() if k != own)
assert state["ansm.trunk.head.weight"].any()
"""

if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
