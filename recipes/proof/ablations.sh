#!/usr/bin/env bash
# One choice changed at a time: trains and tests every variant in RUNS/NAME, writes RUNS/NAME.json.
# What is finished is left alone; what was killed goes on.
#   bash recipes/proof/ablations.sh BED RUNS [NAME ...]
# BED is the bed bsds of beds.py; the localizer is the CNN that was published for it.
# Run it from the root of the repository.
set -euo pipefail
bed=$1 runs=$2
shift 2
name='smp:Unet?encoder_name=mobilenet_v2&decoder_channels=128,64,32,16,16'
name=$name@recipes/weights/bsds-cnn.safetensors
steps=${STEPS:-1000}

# A variant: its name, then what it changes. The reference has the defaults of `ansm`: alignment of
# encoder[2] and encoder[3], `channelwise_kl`, the truth as target, e_d 16/255, `small`, no BatchNorm.
variants='
reference
mgr-only --ffa.fit.steps 1
l2cos --ffa.loss l2cos
reverse-kl --ffa.loss reverse_kl
taps-early --ffa.taps encoder[1]
taps-middle --ffa.taps encoder[3]
taps-late --ffa.taps encoder[5]
taps-all --ffa.taps encoder[1] encoder[2] encoder[3] encoder[4] encoder[5] decoder
target-localizer --mgr.target localizer
target-mixed --mgr.target mixed
bound-4 --ansm small?bound_255=4
bound-8 --ansm small?bound_255=8
tiny --ansm tiny
base --ansm base
batch-norm --ansm small?norm=batch
'

measure() { # name, ANSM
    [ -e "$runs/$1.json" ] || ansm evaluate --localizer "$name" --ansm "$2" \
        --images "$bed/test/images" --masks "$bed/test/masks" --pattern 'test-*' --count 40 \
        --threat T0,T1 --attacks pgd,mifgsm --eps 2,4,8 --baselines none --json "$runs/$1.json"
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
        ansm train two-stage --localizer "$name" --images "$bed/train/images" \
            --masks "$bed/train/masks" --data.count 4096 --ffa.fit.steps 200 \
            --ffa.fit.batch-size 16 --mgr.fit.batch-size 16 --mgr.fit.steps "$steps" \
            --output "$out" $changes
    fi
    measure "$variant" "$out/mgr.safetensors"
    case $variant in
    reference | l2cos | reverse-kl | taps-*) measure "$variant.stage-1" "$out/ffa.safetensors" ;;
    esac
done <<<"$variants"
