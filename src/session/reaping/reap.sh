
# reap.sh MODE AGE TOKEN: ends what a session has left that began AGE seconds ago. It says how that went by its status:
# how many it found, at most 39; 40 more where somebody may be left who cannot be seen, 80 more where somebody is left.
W=$1 T=${3%:*} N=" ${3#*:} "
read -r B e </proc/uptime
B=$(((${B%%.*} - $2 - 2) * 100))
finish
set -- $K
n=$#
[ $n -gt 39 ] && n=39
[ "$L" = ' ' ] || exit $((n + 80))
[ -z "$D" ] || exit $((n + 40))
exit $n
