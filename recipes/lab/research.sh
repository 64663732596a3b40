#!/usr/bin/env bash
# `photo-research`, the localizer for JPEG photographs that learned from data for research alone:
# `photo` goes on with photographs whose things have outlines (BSDS500, ccp), with CASIA1's training
# part and with authentic photographs of CASIA1. What is done goes on where it was killed.
#   bash recipes/lab/research.sh DATA CAMERAS RUNS
# DATA: a folder with bsds500, ccp and casia1. CAMERAS: the train side of `lab.cameras split`.
# Run it from the root of the repository. It was not run to its end yet.
set -euo pipefail
[ $# -eq 3 ] || { sed -n 2,7p "$0" | cut -c3-; exit 2; }
data=$1 cameras=$2 runs=$3
architecture='smp:Unet?encoder_name=timm-tf_efficientnet_lite0&decoder_channels=128,64,32,16,16'
lab() { PYTHONPATH=recipes python -m "lab.$1" "${@:2}"; }

mkdir -p "$runs"
[ -e "$runs/splits.csv" ] || lab splits "$data/casia1" "$runs/splits.csv"
[ -e "$runs/casia1" ] || lab beds casia1 "$data/casia1" "$runs/casia1" "$runs/splits.csv"
[ -e "$runs/research" ] || lab research "$data" "$cameras" "$runs/splits.csv" "$runs/research"

# No host and no donor of CASIA1's test part is in its training part.
ansm train localizer --localizer "$architecture" --start ansm_plugin/assets/photo.safetensors \
    --output "$runs/localizer" --data.images "$runs/research/photographs" \
    --data.style photographic --data.photographic.labels "$runs/research/labels" \
    --data.mixed "$runs/casia1/train:0.45,$runs/research/authentic:0.15" --data.count 16000 \
    --data.seed 31 --data.photographic.size 160 --data.photographic.authentic 0.2 \
    --data.uploaded 0.15 --fit.steps 4600 --fit.batch-size 8 --fit.learning-rate 8e-4 \
    --fit.weight-decay 0.01 --fit.averaging 0.998 --fit.precision fp32 --fit.warmup 100
lab half "$runs/localizer/localizer.safetensors" "$runs/photo-research.safetensors" "$architecture"
