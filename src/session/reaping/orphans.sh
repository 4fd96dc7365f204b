
# orphans.sh MODE BOOT NUMBERS: ends what these sessions of a gateway left that is dead. Perhaps only its connection is:
# then it has another guard here very soon, and that is who counts.
W=$1 T=$2 N=$3 B=999999999999
guarded() {
  for d in /proc/[0-9]*; do
    marked "${d#/proc/}" "ENTRY_GUARD=$T" && return 0
  done
  return 1
}
[ "$N" = ' ' ] && exit 0
sleep 4
guarded 2>/dev/null && exit 0
# More than once: a start may have been under way.
i=0; while [ $i -lt 4 ]; do finish; sleep 1; i=$((i+1)); done
