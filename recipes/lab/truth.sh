#!/usr/bin/env bash
# What a module really does, measured: the worst of T1 with wrong masks and foreign noise, framing,
# transplant, and T4. `python -m lab.truth OUTPUT.json ...` prints it as a table.
#   bash recipes/lab/truth.sh OUTPUT.json [OPTIONS OF `ansm evaluate`]
# such as --localizer, --ansm, --images, --masks, --count, --own-modules. T4 is an estimate (30
# steps, one start); its bound, in a file of its own:
#   bash recipes/lab/truth.sh OUTPUT-bound.json --threat T0,T4 --eps 1,2,4 --aims none \
#       --white-box-steps 100 --white-box-restarts 3 [OPTIONS]
set -euo pipefail
[ $# -ge 1 ] || { sed -n 2,8p "$0" | cut -c3-; exit 2; }
output=$1
shift
ansm evaluate --threat T0,T1,T4 --attacks pgd,mifgsm,cospgd,margin --eps 1,2,4,8 \
    --aims decoy,mark,swap --aim-attacks mifgsm --adaptive warm-start --baselines none \
    --white-box-attacks apgd-margin,apgd-dice,apgd-js \
    --white-box-steps 30 --white-box-restarts 1 --json "$output" "$@"
