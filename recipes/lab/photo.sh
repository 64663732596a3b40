#!/usr/bin/env bash
# `photo`, the localizer for JPEG photographs, and its ANSM: beds, trainings and tables, in RUNS.
# Each part is left out when its result is there and goes on where it was killed.
#   bash recipes/lab/photo.sh CAMERAS ENCODER.safetensors RUNS [SETS]
# CAMERAS: a folder of JPEG files as cameras wrote them, one camera or more per file name.
# ENCODER: EfficientNet-lite0 of ImageNet, with the names of timm's tf_efficientnet_lite0.
# SETS: a folder with sets of others to measure on, each with images/ and masks/.
# Run it from the root of the repository. One thread of a CPU: two and a half hours.
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
if [ ! -e "$runs/photo.safetensors" ]; then
    ansm train localizer --localizer "$architecture" --start "$encoder" --output "$runs/localizer" \
        "${crops[@]}" --data.count 16000 --data.seed 5 --data.photographic.size 160 \
        --data.photographic.authentic 0.15 --data.uploaded 0.15 --fit.steps 4600 \
        --fit.batch-size 8 --fit.learning-rate 8e-4 --fit.weight-decay 0.01 \
        --fit.averaging 0.998 --fit.precision fp32 --fit.warmup 100
    lab half "$runs/localizer/localizer.safetensors" "$runs/photo.safetensors" "$architecture"
fi
localizer="$architecture@$runs/photo.safetensors"

# What suppresses noise before one localizer helps before the next. A third of the batches pass
# JPEG, resizing, blur or noise between attack and module, as what is uploaded does.
module() { # OUTPUT START STEPS LEARNING_RATE
    ansm train mgr --localizer "$localizer" --output "$1" --start "$2" "${crops[@]}" \
        --data.count 2560 --data.seed 11 --data.photographic.size 128 \
        --data.photographic.authentic 0.25 --attacks.eps-255 2,4,8,8,12 \
        --attacks.attacks pgd,mifgsm,mifgsm,cospgd,margin,hide \
        --attacks.step-shares 0.1,0.15,0.25 --attacks.precision fp32 \
        --attacks.targets "$targets" --mgr.soft-original 5 --mgr.original-price 600 \
        --mgr.alignment 0 --mgr.relative-alignment 0.25 --mgr.alignment-floor-255 4 \
        --mgr.channel 0.3 --mgr.fit.steps "$3" --mgr.fit.batch-size 12 \
        --mgr.fit.learning-rate "$4" --mgr.fit.averaging 0.998 --mgr.fit.precision fp32
}
targets=truth:0.3,other:0.18,blob:0.12,mirror:0.08,complement:0.04,towards-other:0.08
targets+=,towards-blob:0.06,empty:0.04,full:0.04,swap:0.06
if [ ! -e "$runs/photo-ansm.safetensors" ]; then
    module "$runs/ansm" ansm_plugin/assets/forensic-unet-ansm.safetensors 2400 8e-4
    mkdir -p "$runs/ansm-2"
    cp -r "$runs/ansm/attacked" "$runs/ansm-2" # the same crops under the same attacks
    module "$runs/ansm-2" "$runs/ansm/mgr.safetensors" 3200 6e-4
    lab half "$runs/ansm-2/mgr.safetensors" "$runs/unscored.safetensors"
    ansm calibrate --localizer "$localizer" --ansm "$runs/unscored.safetensors" \
        --images "$runs/cameras/train" --count 64 --crop-size 160 \
        --output "$runs/photo-ansm.safetensors"
fi

places=("own-bed=$runs/bed")
for set in ${sets:+"$sets"/*/}; do
    [ -d "$set/images" ] && places+=("$(basename "$set")=$set")
done
lab sets "$runs/photo-sets.json" "$localizer" "$runs/photo-ansm.safetensors" "${places[@]}"
