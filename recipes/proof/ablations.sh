#!/usr/bin/env bash
# One choice changed at a time: trains and tests every variant in RUNS/NAME, writes RUNS/NAME.json.
# What is finished is left alone; what was killed goes on.
#   bash recipes/proof/ablations.sh BSDS LOCALIZER.safetensors RUNS [NAME ...]
# BSDS holds the photographs, LOCALIZER the weights of a forensic-unet trained on its `train_` ones.
set -euo pipefail
photographs=$1 name=forensic-unet@$2 runs=$3
shift 3
steps=${STEPS:-1500}

# A variant: its name, then what it changes.
variants='
reference
mgr-only --ffa.fit.steps 1
l2cos --ffa.loss l2cos
reverse-kl --ffa.loss reverse_kl
taps-early --ffa.taps encoder[1]
taps-middle --ffa.taps encoder[2]
taps-late --ffa.taps encoder[4]
taps-all --ffa.taps encoder[1] encoder[2] encoder[3] encoder[4] decoder
target-localizer --mgr.target localizer
bound-4 --ansm small?bound_255=4
bound-8 --ansm small?bound_255=8
tiny --ansm tiny
base --ansm base
batch-norm --ansm small?norm=batch
channel --mgr.channel 0.3
'

measure() { # name, ANSM
    [ -e "$runs/$1.json" ] || ansm evaluate --localizer "$name" --ansm "$2" --images "$photographs" \
        --pattern 'test_*' --threat T0,T1 --attacks pgd,mifgsm,cospgd --eps 2,4,8 --count 96 \
        --baselines none --json "$runs/$1.json"
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
        ansm train two-stage --localizer "$name" --images "$photographs" --pattern 'train_*' \
            --data.seed 2 --data.count 8192 --ffa.fit.steps 300 --mgr.fit.steps "$steps" \
            --output "$out" $changes
    fi
    measure "$variant" "$out/mgr.safetensors"
    case $variant in
    reference | l2cos | reverse-kl | taps-*) measure "$variant.stage-1" "$out/ffa.safetensors" ;;
    esac
done <<<"$variants"
