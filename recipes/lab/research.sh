#!/usr/bin/env bash
# `photo-research`, the localizer for JPEG photographs that learned from data for research alone,
# and its ANSM: `photo` goes on with photographs whose things have outlines (BSDS500, ccp), with
# CASIA1's training part and with authentic photographs of CASIA1. What is done goes on where it was
# killed.
#   bash recipes/lab/research.sh DATA CAMERAS RUNS
# DATA: a folder with bsds500, ccp and casia1. CAMERAS: the train side of `lab.cameras split`.
# Run it from the root of the repository. One thread of a CPU: an hour and a half.
set -euo pipefail
[ $# -eq 3 ] || { sed -n 2,8p "$0" | cut -c3-; exit 2; }
data=$1 cameras=$2 runs=$3
architecture='smp:Unet?encoder_name=timm-tf_efficientnet_lite0&decoder_channels=128,64,32,16,16'
lab() { PYTHONPATH=recipes python -m "lab.$1" "${@:2}"; }

mkdir -p "$runs"
[ -e "$runs/splits.csv" ] || lab splits "$data/casia1" "$runs/splits.csv"
[ -e "$runs/casia1" ] || lab beds casia1 "$data/casia1" "$runs/casia1" "$runs/splits.csv"
[ -e "$runs/research" ] || lab research "$data" "$cameras" "$runs/splits.csv" "$runs/research"

# No host and no donor of CASIA1's test part is in its training part.
[ -e "$runs/localizer/localizer.safetensors" ] ||
    ansm train localizer --localizer "$architecture" --start ansm_plugin/assets/photo.safetensors \
    --output "$runs/localizer" --data.images "$runs/research/photographs" \
    --data.style photographic --data.photographic.labels "$runs/research/labels" \
    --data.mixed "$runs/casia1/train:0.45,$runs/research/authentic:0.15" --data.count 16000 \
    --data.seed 31 --data.photographic.size 160 --data.photographic.authentic 0.2 \
    --data.uploaded 0.15 --fit.steps 4600 --fit.batch-size 8 --fit.learning-rate 8e-4 \
    --fit.weight-decay 0.01 --fit.averaging 0.998 --fit.precision fp32 --fit.warmup 100
lab half "$runs/localizer/localizer.safetensors" "$runs/photo-research.safetensors" "$architecture"
localizer="$architecture@$runs/photo-research.safetensors"

# Its ANSM goes on from that of `photo`, by the same recipe (photo.sh); the published one began with
# what that was after 3,000 of its 6,500 steps.
targets=truth:0.3,other:0.18,blob:0.12,mirror:0.08,complement:0.04,towards-other:0.08
targets+=,towards-blob:0.06,empty:0.04,full:0.04,swap:0.06
ansm train mgr --localizer "$localizer" --start ansm_plugin/assets/photo-ansm.safetensors \
    --output "$runs/ansm" --data.images "$runs/research/photographs" \
    --data.style photographic --data.photographic.labels "$runs/research/labels" \
    --data.mixed "$runs/casia1/train:0.6,$runs/research/authentic:0.15" --data.count 1600 \
    --data.seed 33 --data.photographic.size 128 --data.photographic.authentic 0.2 \
    --attacks.eps-255 1,2,2,4,4,8,8,12 --attacks.attacks pgd,mifgsm,mifgsm,cospgd,margin,hide \
    --attacks.step-shares 0.1,0.15,0.25 --attacks.precision fp32 --attacks.targets "$targets" \
    --mgr.soft-original 5 --mgr.original-price 600 --mgr.alignment 0 \
    --mgr.relative-alignment 0.25 --mgr.alignment-floor-255 4 --mgr.channel 0.3 \
    --mgr.fit.steps 1500 --mgr.fit.batch-size 12 --mgr.fit.learning-rate 4e-4 \
    --mgr.fit.averaging 0.998 --mgr.fit.precision bf16
lab half "$runs/ansm/mgr.safetensors" "$runs/unscored.safetensors"
ansm calibrate --localizer "$localizer" --ansm "$runs/unscored.safetensors" \
    --images "$runs/casia1/train/images" --masks "$runs/casia1/train/masks" --count 64 \
    --crop-size 160 --output "$runs/photo-research-ansm.safetensors"
