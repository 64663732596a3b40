#!/usr/bin/env bash
# The ANSM of a pair of the proof, trained against noise that cannot carry the answer:
# RUNS/PAIR-ansm.safetensors.
#   bash recipes/lab/independent.sh bsds-cnn|bsds-transformer|casia1-cnn BEDS RUNS
# BEDS holds what beds.py wrote; CASIA1's split is the one that its localizer had. casia1-cnn begins
# with RUNS/bsds-cnn-3. What is done is left out where its result is there, and goes on where it was
# killed. One thread of a CPU: an hour and a quarter for either CNN, an hour for the transformer.
# Run it from the root of the repository.
set -euo pipefail
[ $# -eq 3 ] || { sed -n 2,8p "$0" | cut -c3-; exit 2; }
pair=$1 beds=$2 runs=$3
bed=$beds/${pair%-*} out=$runs/$pair
case $pair in
bsds-cnn | casia1-cnn) name='smp:Unet?encoder_name=mobilenet_v2&decoder_channels=128,64,32,16,16' ;;
bsds-transformer) name='smp:Segformer?encoder_name=mit_b0' ;;
*) echo "independent.sh: $pair is not bsds-cnn, bsds-transformer or casia1-cnn" >&2; exit 2 ;;
esac
localizer=$name@recipes/lab/weights/$pair.safetensors
crops=(--images "$bed/train/images" --masks "$bed/train/masks")

targets=truth:0.3,other:0.18,blob:0.12,mirror:0.08,complement:0.04,towards-other:0.08
targets+=,towards-blob:0.06,empty:0.04,full:0.04,swap:0.06
module() { # OUTPUT START STEPS LEARNING_RATE PRICE [SEED RADII CROPS SIZE BATCH]
    ansm train mgr --localizer "$localizer" --output "$1" --start "$2" "${crops[@]}" \
        --data.mixed "$bed/train-authentic:0.2" --data.forgeries.size "${9:-96}" --data.count "${8:-3600}" \
        --data.seed "${6:-21}" --attacks.eps-255 "${7:-2,4,8,8,12}" \
        --attacks.attacks pgd,mifgsm,mifgsm,cospgd,margin,hide \
        --attacks.step-shares 0.1,0.15,0.25 --attacks.targets "$targets" \
        --mgr.soft-original 5 --mgr.original-price "$5" --mgr.alignment 0 \
        --mgr.relative-alignment 0.25 --mgr.alignment-floor-255 4 --mgr.fit.steps "$3" \
        --mgr.fit.batch-size "${10:-24}" --mgr.fit.learning-rate "$4" --mgr.fit.averaging 0.998
}
weaker=1,2,2,4,4,8,8,12
if [ "$pair" = casia1-cnn ]; then
    [ -e "$out/mgr.safetensors" ] ||
        module "$out" "$runs/bsds-cnn-3/mgr.safetensors" 2200 8e-4 600 23 $weaker 2400 128 12
    last=$out-2
    [ -e "$last/mgr.safetensors" ] ||
        module "$last" "$out/mgr.safetensors" 4000 1.2e-3 250 24 $weaker 2400 160 10
else
    # What suppresses noise before one localizer helps before the next.
    [ -e "$out/mgr.safetensors" ] ||
        module "$out" ansm_plugin/assets/forensic-unet-ansm.safetensors 2600 8e-4 600
    last=$out-2
    if [ ! -e "$last/mgr.safetensors" ]; then
        mkdir -p "$last"
        cp -r "$out/attacked" "$last" # the same crops under the same attacks
        module "$last" "$out/mgr.safetensors" 2000 6e-4 900
    fi
    # Other crops, and more noise that is weak: recovery was low at 2 grey levels.
    last=$out-3
    [ -e "$last/mgr.safetensors" ] ||
        module "$last" "$out-2/mgr.safetensors" 2200 6e-4 1100 22 $weaker
fi
PYTHONPATH=recipes python -m lab.half "$last/mgr.safetensors" "$last/half.safetensors"
ansm calibrate --localizer "$localizer" --ansm "$last/half.safetensors" "${crops[@]}" \
    --count 64 --crop-size 128 --output "$runs/$pair-ansm.safetensors"
