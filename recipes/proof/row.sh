#!/usr/bin/env bash
# One row of the proof: localizer, ANSM and evaluation, in RUNS/BED-KIND. Each part is left out when
# its result is there and goes on where it was killed.
#   bash recipes/proof/row.sh bsds|casia1 cnn|transformer BEDS RUNS ENCODER.safetensors
# BEDS holds what beds.py wrote. ENCODER: a MobileNetV2 of torchvision's names (ImageNet).
set -euo pipefail
bed=$1 kind=$2 beds=$3 runs=$4 encoder=$5
out=$runs/$bed-$kind
crops=(--images "$beds/$bed/train/images" --masks "$beds/$bed/train/masks")

case $kind in
cnn) name='smp:Unet?encoder_name=mobilenet_v2' rate=1e-3 ;;
transformer) name='smp:Segformer?encoder_name=mit_b0' rate=5e-4 ;;
esac

start=()
[ "$kind" = cnn ] && start=(--start "$encoder")
if [ "$bed" = casia1 ]; then
    # Real forgeries are few: what the localizer learned on synthetic ones comes first.
    start=(--start "$runs/bsds-$kind/localizer.safetensors")
    steps=3000 size=192 test=test-splice
else
    steps=4000 size=128 test=test
fi
[ "$kind" = transformer ] && steps=$((2 * steps)) # no pretrained encoder

if [ ! -e "$out/localizer.safetensors" ]; then
    ansm train localizer --localizer "$name" "${start[@]}" "${crops[@]}" --output "$out" \
        --data.forgeries.size $size --data.count 12000 --steps $steps \
        --fit.batch-size 16 --fit.learning-rate $rate
fi
name=$name@$out/localizer.safetensors
if [ ! -e "$out/mgr.safetensors" ]; then
    ansm train two-stage --localizer "$name" "${crops[@]}" --output "$out" \
        --data.forgeries.size 128 --data.count 6000 --ffa.fit.steps 300 --mgr.fit.steps 8000 \
        --attacks.eps-255 2 4 8 12
fi
if [ ! -e "$out/report/evaluation.json" ]; then
    ansm evaluate --localizer "$name" --ansm "$out/mgr.safetensors" \
        --images "$beds/$bed/$test/images" --masks "$beds/$bed/$test/masks" \
        --attacks pgd,mifgsm,cospgd,margin,apgd-dice --eps 2,4,8,12 --output "$out/report"
fi
