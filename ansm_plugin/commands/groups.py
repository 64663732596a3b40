"""Options that several commands share: each has one name, one meaning and one sentence of help.

They stand in one order on every command: which localizer and ANSM, which images, which attacks,
what is drawn, what is peculiar to the command, where results go, and what computes.
`tests/commands/test_vocabulary.py` walks all commands and checks both.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansm_plugin.commands.fact_options import FactOptions
from ansm_plugin.commands.options import REQUIRED, flag, group, option
from ansm_plugin.commands.values import filled, grey_levels, names, path, positive, whole

if TYPE_CHECKING:
    from ansm_plugin.evaluation.material import Source
    from ansm_plugin.localizer.facts import Facts


def localizer_option(
    default: str = "what ANSM_LOCALIZER names in the environment, else photo",
) -> Any:
    """Return the field that names a localizer; None is the default, which is told in words."""
    return option(
        None,
        parse=filled,
        metavar="NAME",
        help="a name of `ansm models`, smp:..., timm:..., transformers:..., torchvision:... or "
        "module:function, each with optional @weights.safetensors and @adapter.safetensors "
        f"(default: {default})",
    )


def ansm_option() -> Any:
    """Return the field that names the weights of an ANSM."""
    return option(None, parse=path, metavar="FILE", help="weights written by `ansm train`")


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """A localizer and the ANSM before it; None is what comes with the package."""

    localizer: str | None = localizer_option()
    ansm: Path | None = ansm_option()
    said: FactOptions = group(FactOptions)

    @property
    def facts(self) -> Facts:
        """What the user says of the localizer."""
        return self.said.facts


def count_option(default: int | None = None) -> Any:
    """Return the field of the number of images; None leaves it to what they are."""
    told = "" if default is None else " (default: {default})"
    return option(
        default,
        parse=positive,
        metavar="N",
        help="number of images: of files at most so many, authentic ones included; of crops "
        f"exactly so many{told}",
    )


def recursive_flag() -> Any:
    """Return the field that says whether folders in a folder count."""
    return flag(
        help="enter the folders in a folder too; masks, and results, lie in folders as images do"
    )


@dataclass(frozen=True, kw_only=True)
class ImageOptions:
    """Images with their masks, or photographs that forgeries are made of; None: the built-in."""

    images: Path | None = option(
        None,
        parse=path,
        metavar="DIR",
        help="forged images with --masks; alone, photographs that forgeries are made of, or a "
        "list [[image, mask], ...] such as the dataset.json of `ansm attack` or of IMDLBenCo",
    )
    masks: Path | None = option(None, parse=path, metavar="DIR", help="masks with the same stems")
    pattern: str = option(
        "*", metavar="GLOB", help="only images whose file name matches (default: {default})"
    )
    recursive: bool = recursive_flag()
    allow_outside: bool = flag(
        help="trust the list: its paths may lead out of its folder, as absolute ones do"
    )
    count: int | None = count_option()

    def source(self, count: int | None = None) -> Source:
        """Return where the images come from.

        Args:
            count: at most this many; None takes the given number.
        """
        from ansm_plugin.evaluation.material import Source

        return Source(
            images=self.images,
            masks=self.masks,
            pattern=self.pattern,
            count=count or self.count,
            recursive=self.recursive,
            allow_outside=self.allow_outside,
        )

    def forged(self, crops: int) -> str:
        """Return what is made of photographs that come without masks, "" where nothing is.

        Args:
            crops: how many where no count is given.
        """
        if self.images is None or self.masks is not None or self.images.suffix.lower() == ".json":
            return ""
        return (
            f"no --masks were given, so {self.count or crops} forged crops are made of the "
            f"photographs in {self.images} (--count N makes another number; --masks DIR takes the "
            "images as they are)"
        )


@dataclass(frozen=True, kw_only=True)
class AimOptions:
    """Attacks that are told a wrong mask; None leaves them to the effort."""

    aims: tuple[str, ...] | None = option(
        None,
        parse=names,
        metavar="NAMES",
        help="attacks that are told a wrong mask, on authentic images too (default: "
        "decoy,mark,swap; none: no such attack)",
    )
    aim_attacks: tuple[str, ...] | None = option(
        None,
        parse=names,
        metavar="NAMES",
        help="of --aims; authentic images meet the first (default: pgd,mifgsm,margin,apgd)",
    )

    @property
    def names(self) -> tuple[str, ...] | None:
        """The aims, of which "none" stands for an empty list."""
        return () if self.aims == ("none",) else self.aims or None


@dataclass(frozen=True, kw_only=True)
class StrengthOptions:
    """How hard gradient attacks try; None leaves it to the plan of the command."""

    eps: tuple[float, ...] | None = option(
        None,
        parse=grey_levels,
        metavar="LEVELS",
        help="their radii in grey levels of 255, separated by commas (default: 2,4,8)",
    )
    attack_steps: int | None = option(
        None, parse=positive, metavar="N", help="gradient steps of each attack (default: 10)"
    )


def attacks_option(said: str) -> Any:
    """Return the field that names attacks; None leaves them to the plan, which has those `said`."""
    return option(
        None,
        parse=names,
        metavar="NAMES",
        help=f"separated by commas; one of your own is module:function (default: {said})",
    )


def attack_precision_option() -> Any:
    """Return the field of the precision of attacks; None leaves it to the plan."""
    return option(
        None,
        choices=("fp32", "bf16"),
        help="of the localizer while it is attacked; bf16 takes half the time at the same loss of "
        "F1 (default: bf16)",
    )


def precision_option() -> Any:
    """Return the field of the precision inside the ANSM."""
    return option(
        "fp32",
        choices=("fp32", "bf16"),
        help="of the convolutions inside the ANSM; bf16 halves its time on processors that have "
        "it, and changes F1 by less than 0.001 (default: {default})",
    )


def gate_option() -> Any:
    """Return the field that says whether the attack score may leave an image undefended."""
    return flag(
        help="keep the bare localizer's mask where the attack score says that nothing is wrong "
        "(needs an ANSM that was calibrated)"
    )


def crop_size_option(said: str) -> Any:
    """Return the field of the side of crops; None takes what is `said`."""
    return option(
        None,
        parse=positive,
        metavar="PIXELS",
        help=f"side of the square crops that are made or cut (default: {said})",
    )


def tile_option(more: str = "") -> Any:
    """Return the field of the size of tiles; None is `data.tiles.TILE`; `more` is said behind."""
    return option(
        None,
        parse=whole,
        metavar="PIXELS",
        help="longest side in pixels that is worked on at once; what is larger is cut into "
        f"overlapping tiles (default: 1024){more}",
    )


def seed_option(default: int | None = 0) -> Any:
    """Return the field that decides what is drawn."""
    told = "" if default is None else " (default: {default})"
    return option(default, parse=whole, metavar="N", help=f"decides what is drawn at random{told}")


def output_option(receives: str, default: Any = REQUIRED, metavar: str = "DIR") -> Any:
    """Return the field of the folder or file of the results; the help says what it receives."""
    told = "" if default in (REQUIRED, None) else " (default: {default})"
    return option(default, parse=path, metavar=metavar, help=f"receives {receives}{told}")


def force_flag() -> Any:
    """Return the field that says whether earlier results may go."""
    return flag(help="replace what is there")


def json_option() -> Any:
    """Return the field that names a copy of the results."""
    return option(None, parse=path, metavar="FILE", help="write the results there as JSON")


def device_option() -> Any:
    """Return the field of the device that computes."""
    return option(
        "auto",
        parse=filled,
        metavar="NAME",
        help="what computes: cpu, cuda, cuda:1, mps or xpu; auto is the accelerator if there is "
        "one, else the CPU (default: {default})",
    )
