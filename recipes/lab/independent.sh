#!/usr/bin/env bash
# The ANSM of a research pair, trained against noise that cannot carry the answer: RUNS/NAME-ansm.
#   bash recipes/lab/independent.sh bsds-cnn|bsds-transformer|casia1-cnn BEDS RUNS
# BEDS holds what beds.py wrote. What is done is left out where its result is there, and goes on
# where it was killed. One thread of a CPU: half an hour for the CNN of BSDS, an hour for the others.
# Run it from the root of the repository. CASIA1 needs the ANSM of BSDS.
set -euo pipefail
[ $# -eq 3 ] || { sed -n 2,6p "$0" | cut -c3-; exit 2; }
pair=$1 beds=$2 runs=$3
out=$runs/$pair
cnn='smp:Unet?encoder_name=mobilenet_v2&decoder_channels=128,64,32,16,16'
start=ansm_plugin/assets/forensic-unet-ansm.safetensors
case $pair in
bsds-*) crops=(--data.mixed "$beds/bsds/train-authentic:0.2" --data.forgeries.size 96
    --data.count 3600 --mgr.fit.steps 2600 --mgr.fit.batch-size 24) ;;
casia1-*) crops=(--data.mixed "$beds/casia1/train-authentic:0.2" --data.forgeries.size 128
    --data.count 2400 --mgr.fit.steps 2600 --mgr.fit.batch-size 12)
    start=$runs/bsds-cnn-ansm.safetensors ;;
esac
case $pair in
*-cnn) name=$cnn ;;
*) name='smp:Segformer?encoder_name=mit_b0' ;;
esac
localizer=$name@recipes/lab/weights/$pair.safetensors

targets=truth:0.3,other:0.18,blob:0.12,mirror:0.08,complement:0.04,towards-other:0.08
targets+=,towards-blob:0.06,empty:0.04,full:0.04,swap:0.06
bed=$beds/${pair%-*}
if [ ! -e "$out/mgr.safetensors" ]; then
    ansm train mgr --localizer "$localizer" --output "$out" --start "$start" \
        --data.images "$bed/train/images" --data.masks "$bed/train/masks" "${crops[@]}" \
        --data.seed 21 --attacks.eps-255 2,4,8,8,12 \
        --attacks.attacks pgd,mifgsm,mifgsm,cospgd,margin,hide \
        --attacks.step-shares 0.1,0.15,0.25 --attacks.targets "$targets" \
        --mgr.soft-original 5 --mgr.original-price 600 --mgr.alignment 0 \
        --mgr.relative-alignment 0.25 --mgr.alignment-floor-255 4 \
        --mgr.fit.learning-rate 8e-4 --mgr.fit.averaging 0.998
fi
PYTHONPATH=recipes python -m lab.half "$out/mgr.safetensors" "$out/half.safetensors"
ansm calibrate --localizer "$localizer" --ansm "$out/half.safetensors" \
    --images "$bed/train-authentic/images" --count 64 --crop-size 128 \
    --output "$runs/$pair-ansm.safetensors"
