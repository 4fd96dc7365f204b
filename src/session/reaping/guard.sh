# guard.sh MODE BOOT ORPHANS: stands in a container while a gateway has sessions there, and is told of each that begins
# (+ NUMBER) and ends (- NUMBER). When its input ends without a farewell the gateway may be dead: ORPHANS is the script
# that sees to what is left then.
trap '' HUP INT TERM
N=' '
echo ready
while read -r word number; do
  case $word in
    +) N="$N$number ";;
    -) case $N in *" $number "*) N="${N%%" $number "*} ${N#*" $number "}";; esac;;
    bye) exit 0;;
  esac
done
ENTRY_GUARD= exec sh -c "$3" entry-orphans "$1" "$2" "$N"
