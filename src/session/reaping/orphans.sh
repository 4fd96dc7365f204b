
# orphans.sh MODE BOOT NUMBERS: ends what these sessions of a gateway left that is dead. Perhaps only its connection is:
# then it has another guard here very soon, and that is who counts.
W=$1 T=$2 N=$3 B=999999999999
guarded() {
  # A guard is the same program as this one.
  read -r own </proc/$$/comm
  for d in /proc/[0-9]*; do
    read -r name <"$d/comm" && [ "$name" = "$own" ] && marked "${d#/proc/}" "ENTRY_GUARD=$T" && return 0
  done
  return 1
}
[ "$N" = ' ' ] && exit 0
sleep 3
guarded 2>/dev/null && exit 0
finish
# A start may have been under way.
for i in 1 2; do sleep 1; finish; done
