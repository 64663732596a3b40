#!/usr/bin/env bash
# `photo`, the localizer for JPEG photographs, and its ANSM: beds, trainings and tables, in RUNS.
# Each part is left out when its result is there and goes on where it was killed.
#   bash recipes/lab/photo.sh CAMERAS ENCODER.safetensors RUNS [SETS]
# CAMERAS: a folder of JPEG files as cameras wrote them, one camera or more per file name.
# ENCODER: EfficientNet-lite0 of ImageNet, with the names of timm's tf_efficientnet_lite0.
# SETS: a folder with sets of others to measure on, each with images/ and masks/.
# Run it from the root of the repository. One thread of a CPU: five and a half hours.
set -euo pipefail
[ $# -ge 3 ] || { sed -n 2,8p "$0" | cut -c3-; exit 2; }
cameras=$1 encoder=$2 runs=$3 sets=${4:-}
architecture='smp:Unet?encoder_name=timm-tf_efficientnet_lite0&decoder_channels=128,64,32,16,16'
lab() { PYTHONPATH=recipes python -m "lab.$1" "${@:2}"; }

[ -e "$runs/cameras/train" ] || lab cameras split "$cameras" "$runs/cameras"
[ -e "$runs/bed" ] || lab cameras bed "$runs/cameras/test" "$runs/bed" 120
[ -e "$runs/bed-256" ] || lab cameras bed "$runs/cameras/test" "$runs/bed-256" 48 256

crops=(--data.images "$runs/cameras/train" --data.style photographic)
# fp32: a step takes two thirds of the time that it takes in bf16, whose depthwise convolutions are
# slow backwards on processors.
learn() { # OUTPUT START STEPS LEARNING_RATE SEED AUTHENTIC [OPTIONS]
    [ -e "$runs/$1/localizer.safetensors" ] ||
        ansm train localizer --localizer "$architecture" --start "$2" --output "$runs/$1" \
            "${crops[@]}" --data.count 16000 --data.seed "$5" --data.photographic.size 160 \
            --data.photographic.authentic "$6" --data.uploaded 0.15 --fit.steps "$3" \
            --fit.batch-size 8 --fit.learning-rate "$4" --fit.weight-decay 0.01 \
            --fit.averaging 0.998 --fit.precision fp32 --fit.warmup 100 "${@:7}"
}
# The published second stage began from a half-precision file of the first. More authentic crops, of
# other seeds, as soon as it finds forgeries: it marks less where nobody forged. The last stage knows pictures whose last save loses nothing, too.
if [ ! -e "$runs/photo.safetensors" ]; then
    learn localizer "$encoder" 4600 8e-4 5 0.15
    learn localizer-2 "$runs/localizer/localizer.safetensors" 4000 6e-4 9 0.3
    learn localizer-3 "$runs/localizer-2/localizer.safetensors" 4000 8e-4 13 0.25 \
        --data.photographic.uncompressed 0.12 --data.photographic.area 0.02,0.5
    lab half "$runs/localizer-3/localizer.safetensors" "$runs/photo.safetensors" "$architecture"
fi
localizer="$architecture@$runs/photo.safetensors"

# `base`, which works at full resolution: from nothing it suppresses noise better after 1,300 steps than
# `small` does after ten thousand. First it learns to take noise away, without the localizer. A higher
# learning rate killed its last ReLUs. At first a third of the batches, later half, pass JPEG, resizing, blur or noise between
# attack and module, as what is uploaded does. bf16: its convolutions outweigh the localizer's. The
# second training has the photographs at three sizes, for pictures of the web are finer than those of cameras.
targets=truth:0.3,other:0.18,blob:0.12,mirror:0.08,complement:0.04,towards-other:0.08
targets+=,towards-blob:0.06,empty:0.04,full:0.04,swap:0.06
if [ ! -e "$runs/photo-ansm.safetensors" ]; then
    python -c "
import sys, torch
from ansm_plugin import save_ansm
from ansm_plugin.ansm import ANSM
torch.manual_seed(0)
save_ansm(ANSM('base'), sys.argv[1])" "$runs/base-fresh.safetensors"
    [ -e "$runs/densities" ] || lab cameras densities "$runs/cameras/train" "$runs/densities"
    suppress() { # OUTPUT START PHOTOGRAPHS COUNT SEED STEPS LEARNING_RATE WARMUP [OPTIONS]
        [ -e "$runs/$1/mgr.safetensors" ] ||
            ansm train mgr --localizer "$localizer" --output "$runs/$1" --start "$2" \
                --data.images "$3" --data.style photographic --data.count "$4" --data.seed "$5" \
                --data.photographic.size 128 --data.photographic.authentic 0.2 \
                --attacks.eps-255 1,2,2,4,4,8,8,12 \
                --attacks.attacks pgd,mifgsm,mifgsm,cospgd,margin,hide \
                --attacks.step-shares 0.1,0.15,0.25 --attacks.precision fp32 \
                --attacks.targets "$targets" --mgr.soft-original 5 --mgr.original-price 600 \
                --mgr.alignment 0 --mgr.relative-alignment 0.25 --mgr.alignment-floor-255 4 \
                --mgr.fit.steps "$6" --mgr.fit.batch-size 12 \
                --mgr.fit.learning-rate "$7" --mgr.fit.warmup "$8" --mgr.fit.averaging 0.998 \
                --mgr.fit.precision bf16 "${@:9}"
    }
    suppress ansm "$runs/base-fresh.safetensors" "$runs/cameras/train" 2880 14 6500 4e-4 200 \
        --mgr.denoise 0.2 --mgr.channel 0.3
    # The published second training was stopped after 2,086 steps of a schedule of 10,000; the third
    # went on from its averaged weights, since JPEG between attack and module had been too rare.
    finer=(--data.photographic.uncompressed 0.1 --data.photographic.shrunk 0.35)
    suppress ansm-2 "$runs/ansm/mgr.safetensors" "$runs/densities" 3840 51 2100 6e-4 300 \
        "${finer[@]}" --mgr.channel 0.3
    suppress ansm-3 "$runs/ansm-2/mgr.safetensors" "$runs/densities" 3840 51 6500 6e-4 100 \
        "${finer[@]}" --mgr.channel 0.5 --mgr.channels jpeg,jpeg,jpeg,jpeg,resize,blur,noise
    lab half "$runs/ansm-3/mgr.safetensors" "$runs/unscored.safetensors"
    ansm calibrate --localizer "$localizer" --ansm "$runs/unscored.safetensors" \
        --images "$runs/cameras/train" --count 64 --crop-size 160 \
        --output "$runs/photo-ansm.safetensors"
fi

places=("own-bed=$runs/bed")
for set in ${sets:+"$sets"/*/}; do
    [ -d "$set/images" ] && places+=("$(basename "$set")=$set")
done
lab sets "$runs/photo-sets.json" "$localizer" "$runs/photo-ansm.safetensors" "${places[@]}"
