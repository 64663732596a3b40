#!/usr/bin/env bash
# One choice changed at a time: trains and tests every variant in RUNS/NAME, writes RUNS/NAME.json.
# What is finished is left alone; what was killed goes on.
#   bash recipes/lab/ablations.sh BSDS RUNS [NAME ...]
# BSDS holds the photographs: forgeries of `train_` ones to train on, of `test_` ones to measure on. The
# localizer is the embedded one, whose F1 on them is 0.99 though it was trained on others.
set -euo pipefail
photographs=$1 runs=$2
shift 2
steps=${STEPS:-1500}

# A variant: its name, then what it changes. The reference has the defaults of version 0.1: alignment
# of the middle stages encoder[2] and encoder[3], `channelwise_kl`, the truth as target and told to
# every attack, no prices, e_d 16/255, `small`, no BatchNorm.
old=(--attacks.targets truth --data.forgeries.authentic 0
    --mgr.target ground_truth --mgr.original-price 0 --mgr.alignment 0)
variants='
reference
mgr-only --ffa.fit.steps 1
l2cos --ffa.loss l2cos --ffa.fit.learning-rate 1e-4
reverse-kl --ffa.loss reverse_kl
taps-early --ffa.taps encoder[1]
taps-late --ffa.taps encoder[4]
taps-all --ffa.taps encoder[1] encoder[2] encoder[3] encoder[4] decoder
target-localizer --mgr.target localizer
target-mixed --mgr.target mixed
bound-4 --preset small?bound_255=4
bound-8 --preset small?bound_255=8
tiny --preset tiny
base --preset base
batch-norm --preset small?norm=batch
'

measure() { # name, ANSM
    [ -e "$runs/$1.json" ] || ansm evaluate --localizer forensic-unet --ansm "$2" \
        --images "$photographs" --pattern 'test_*' --threat T0,T1 --attacks pgd,mifgsm,cospgd --eps 2,4,8 --count 96 --baselines none \
        --json "$runs/$1.json"
}

while read -r variant changes; do
    [ -n "$variant" ] || continue
    [ $# = 0 ] || [[ " $* " == *" $variant "* ]] || continue
    out=$runs/$variant
    mkdir -p "$out"
    # Attacks depend on the localizer and the crops alone, which all variants share.
    [ "$variant" = reference ] || [ -e "$out/attacked" ] || ln -s ../reference/attacked "$out/attacked"
    if [ ! -e "$out/mgr.safetensors" ]; then
        # shellcheck disable=SC2086
        ansm train two-stage "${old[@]}" --images "$photographs" --pattern 'train_*' --data.seed 2 \
            --data.count 8192 --ffa.fit.steps 300 --mgr.fit.steps "$steps" --output "$out" $changes
    fi
    measure "$variant" "$out/mgr.safetensors"
    case $variant in
    reference | l2cos | reverse-kl | taps-*) measure "$variant.stage-1" "$out/ffa.safetensors" ;;
    esac
done <<<"$variants"
