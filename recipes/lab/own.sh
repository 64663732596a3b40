#!/usr/bin/env bash
# Three modules that an attacker trains himself before a localizer that he has (T3.5): from our
# recipe, with other seeds and other presets than the module that he wants to get past.
#   bash recipes/lab/own.sh LOCALIZER OUTPUT [OPTIONS OF `ansm train two-stage`]
# What is done is left out where its result is there, and goes on where it was killed. Then:
#   ansm evaluate --localizer LOCALIZER --ansm YOURS \
#       --own-modules OUTPUT/tiny.safetensors,OUTPUT/small.safetensors,OUTPUT/base.safetensors
# Run it from the root of the repository.
set -euo pipefail
[ $# -ge 2 ] || { sed -n 2,8p "$0" | cut -c3-; exit 2; }
localizer=$1 output=$2
shift 2
seed=101 # of no module that we publish
for preset in tiny small base; do
    if [ ! -e "$output/$preset.safetensors" ]; then
        ansm train two-stage --localizer "$localizer" --output "$output/$preset" \
            --preset "$preset" --data.seed $seed --ffa.fit.seed $seed --mgr.fit.seed $seed "$@"
        cp "$output/$preset/mgr.safetensors" "$output/$preset.safetensors"
    fi
    seed=$((seed + 1))
done
