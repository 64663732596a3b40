#!/usr/bin/env bash
# One row of the proof: localizer, ANSM and evaluation, in RUNS/BED-KIND. Each part is left out when
# its result is there and goes on where it was killed.
#   bash recipes/lab/row.sh bsds|casia1 cnn|transformer BEDS RUNS ENCODER.safetensors
# BEDS holds what beds.py wrote. ENCODER: a MobileNetV2 of torchvision's names (ImageNet).
# Run it from the root of the repository. CASIA1 needs the BSDS rows, its transformer the CNN's too.
set -euo pipefail
bed=$1 kind=$2 beds=$3 runs=$4 encoder=$5
out=$runs/$bed-$kind
halve() { PYTHONPATH=recipes python -m lab.half "$@"; }
crops=(--images "$beds/$bed/train/images" --masks "$beds/$bed/train/masks")

# The decoder is narrower than SMP's, which is four fifths of that network's 27 MB.
cnn='smp:Unet?encoder_name=mobilenet_v2&decoder_channels=128,64,32,16,16'
case $kind in
cnn)
    name=$cnn
    start=(--start "$encoder")
    ;;
# Nothing pretrained: without a residual stem it learns nothing in the first 1400 steps.
transformer) name='smp:Segformer?encoder_name=mit_b0' start=(--residual-stem 5) ;;
esac
case $bed-$kind in
bsds-cnn) steps=1600 size=128 batch=16 test=test ;;
bsds-transformer) steps=3000 size=128 batch=16 test=test ;;
casia1-*) # real forgeries are few: what was learned on synthetic ones comes first
    steps=2000 size=224 batch=8 test=test-splice
    start=(--start "$runs/bsds-$kind/localizer.safetensors")
    ;;
esac

teacher=()
if [ $bed-$kind = casia1-transformer ]; then # it learns from the CNN, whose encoder is pretrained
    steps=4500
    teacher=(--teacher "$cnn@$runs/casia1-cnn/localizer.safetensors"
        --hints 'encoder[2]' 'encoder[3]' 'encoder[4]' 'encoder[5]')
fi

if [ ! -e "$out/localizer.safetensors" ]; then
    ansm train localizer --localizer "$name" "${start[@]}" "${crops[@]}" --output "$out/full" \
        --data.forgeries.size $size --data.count 9600 --steps $steps \
        --fit.batch-size $batch --fit.learning-rate 1e-3 "${teacher[@]}"
    halve "$out/full/localizer.safetensors" "$out/localizer.safetensors" "$name"
fi
name=$name@$out/localizer.safetensors
# All rows train from attacks that differ in kind, step and radius; a second training, which knows
# stronger attacks and longer steps, brings back what the first left.
# The choices of version 0.1, which trained these rows.
old=(--attacks.targets truth --data.forgeries.authentic 0
    --mgr.target ground_truth --mgr.original-price 0 --mgr.alignment 0)
kinds=(--attacks.attacks mifgsm,pgd,cospgd,hide,margin --attacks.step-shares 0.1,0.25,1)
large=(--data.forgeries.size 224 --mgr.target mixed --mgr.fit.batch-size 8)
case $bed-$kind in
bsds-*)
    # What suppresses noise before one localizer helps before the next.
    stages=(--start recipes/lab/weights/forensic-unet-overwrites.safetensors --data.forgeries.size 128
        --data.count 3072 --attacks.eps-255 2,4,8,12 --mgr.fit.steps 2500 --mgr.fit.batch-size 16)
    more=(--data.forgeries.size 128 --data.seed 1 --data.count 4096 --attacks.eps-255 4,8,8,12
        --steps 5000 --mgr.fit.batch-size 16)
    ;;
# On CASIA1 crops are as large as the localizer's. It is often wrong: an original is held to its own
# mask, not to the truth, or the module learns to mark what the localizer does not.
casia1-cnn)
    stages=(--start "$runs/bsds-cnn/ansm.safetensors" "${large[@]}" --data.count 2048
        --attacks.eps-255 2,4,8,12 --mgr.original-weight 2 --mgr.fit.steps 4000)
    more=("${large[@]}" --data.count 3072 --attacks.eps-255 2,4,8,8,12 --steps 3500)
    ;;
casia1-transformer)
    stages=(--start "$runs/bsds-transformer/ansm.safetensors" "${large[@]}" --data.count 2048
        --attacks.eps-255 2,4,8,8,12 --ffa.fit.batch-size 8 --mgr.fit.steps 3000)
    more=()
    ;;
esac
[ $bed = bsds ] || stages+=("${kinds[@]}")
if [ ! -e "$out/mgr.safetensors" ]; then
    ansm train two-stage "${old[@]}" --localizer "$name" "${crops[@]}" --output "$out" \
        --ffa.fit.steps 100 "${stages[@]}"
fi
trained=$out/mgr.safetensors
if [ ${#more[@]} != 0 ]; then
    trained=$out/more/mgr.safetensors
    [ -e "$trained" ] || ansm train mgr "${old[@]}" --localizer "$name" "${crops[@]}" --output "$out/more" \
        --start "$out/mgr.safetensors" "${kinds[@]}" "${more[@]}"
fi
if [ ! -e "$out/ansm.safetensors" ]; then
    halve "$trained" "$out/ansm.safetensors"
fi
images=("--images=$beds/$bed/$test/images" "--masks=$beds/$bed/$test/masks")
if [ ! -e "$out/report/evaluation.json" ]; then
    ansm evaluate --localizer "$name" --ansm "$out/ansm.safetensors" "${images[@]}" \
        --attacks pgd,mifgsm,cospgd,margin,apgd-dice --eps 2,4,8,12 --threat T0,T1,T2,T3,T4,T5 \
        --surrogate encoder --output "$out/report"
fi
