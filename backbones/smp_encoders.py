"""What SMP's encoders were trained with: mean and std of their pretraining.

Kept by class, because an encoder may be exchanged after the model was named; its weights decide
where two trainings of one class differ. SMP's own lookup needs the network.
"""

from __future__ import annotations

import warnings
from typing import Any

from torch import nn

from ansm_plugin.localizer.guesses import Guess, how_to_say
from ansm_plugin.localizer.spec import IMAGENET_MEAN, IMAGENET_STD, Triple
from ansm_plugin.localizer.traits import find_normalisation

Constants = tuple[Triple, Triple, str]  # mean, std and what they are called
_HOME = "segmentation_models_pytorch.encoders."
IMAGENET: Constants = (IMAGENET_MEAN, IMAGENET_STD, "ImageNet")
HALF: Constants = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "0.5")
_DPN_STD = 1 / (0.0167 * 255)
DPN: Constants = (
    (124 / 255, 117 / 255, 104 / 255), (_DPN_STD, _DPN_STD, _DPN_STD), "DPN"
)  # fmt: skip
# By module and class below SMP's encoders; tests hold it against timm's configs.
ENCODERS: dict[str, Constants] = {
    "densenet.DenseNetEncoder": IMAGENET,
    "dpn.DPNEncoder": DPN,
    "efficientnet.EfficientNetEncoder": IMAGENET,
    "inceptionresnetv2.InceptionResNetV2Encoder": HALF,
    "inceptionv4.InceptionV4Encoder": HALF,
    "mix_transformer.MixVisionTransformerEncoder": IMAGENET,
    "mobilenet.MobileNetV2Encoder": IMAGENET,
    "mobileone.MobileOne": IMAGENET,
    "resnet.ResNetEncoder": IMAGENET,
    "senet.SENetEncoder": IMAGENET,
    "timm_efficientnet.EfficientNetEncoder": IMAGENET,
    "timm_efficientnet.EfficientNetLiteEncoder": HALF,
    "timm_sknet.SkNetEncoder": IMAGENET,
    "vgg.VGGEncoder": IMAGENET,
    "xception.XceptionEncoder": HALF,
}
_ADVERSARIAL = "advprop"  # weights of EfficientNets that were trained with 0.5


def find_encoder_normalisation(localizer: nn.Module) -> tuple[Triple, Triple, str]:
    """Return mean and std of an SMP model's encoder, for pixels in [0, 1], and where they are from.

    A warning says where they depend on weights that are not known, or nobody knows the encoder.
    """
    if any(hasattr(m, "pretrained_cfg") for m in localizer.modules()):
        return find_normalisation(localizer)
    encoder: Any = localizer.encoder
    known = constants(type(encoder))
    if known is None:
        return find_normalisation(localizer)
    config = getattr(localizer, "config", None) or {}
    name, weights = str(config.get("encoder_name") or ""), config.get("encoder_weights")
    label = name if name in _names(type(encoder)) else type(encoder).__name__
    if weights == _ADVERSARIAL:
        known = HALF
    elif weights is None and _has_adversarial(type(encoder), label):
        text = (
            f"the SMP encoder {label} was trained with the normalisation of ImageNet (weights "
            f"'imagenet': mean {IMAGENET_MEAN}, std {IMAGENET_STD}) or with 0.5 (weights "
            f"{_ADVERSARIAL!r}: mean and std 0.5), and the localizer does not say which of them it "
            f"was trained from; ImageNet is assumed. Say which by {how_to_say('mean', 'std')}."
        )
        warnings.warn(Guess(text, "mean", "std"), stacklevel=2)
    mean, std, called = known
    return mean, std, f"SMP encoder {label}: {called}"


def constants(encoder: type) -> Constants | None:
    """Return what encoders of a class of SMP's, or of one made from it, were trained with."""
    for kind in encoder.__mro__:
        place = f"{kind.__module__}.{kind.__qualname__}".removeprefix(_HOME)
        if place in ENCODERS:
            return ENCODERS[place]
    return None


def _names(encoder: type) -> dict[str, Any]:
    """Return what SMP knows of the encoders of a class, by their names."""
    from segmentation_models_pytorch.encoders import encoders

    return {
        name: known for name, known in encoders.items() if issubclass(encoder, known["encoder"])
    }


def _has_adversarial(encoder: type, name: str) -> bool:
    """Return whether SMP has such weights for an encoder, or for one of its class."""
    names = _names(encoder)
    asked = [names[name]] if name in names else list(names.values())
    return any(_ADVERSARIAL in known.get("pretrained_settings", {}) for known in asked)
