# POSIX sh and its builtins alone: it runs in whatever dash, bash or busybox the image has.
#
# scan: L = the live processes that are meant, between spaces; D is set where one may be that cannot be seen.
#   W  tree: with children, with children that called setsid, whatever they do with signals
#      session: only of the exec's own terminal session, and of those none that ignores the hang-up, as under nohup
#   T  their gateway, and N their numbers, between spaces: ENTRY_SESSION=T:NUMBER is in the environment they began with
#   B  when the first of them can have begun, in clock ticks since the machine's start: so D is about nobody older
# K = everybody who was ever meant, as pid/start: with its number and its start a process is the same.
# J = the same of those who certainly are not and never will be: to look into an environment costs more than all else.
K=' ' J=' ' R=' '

# A process and a text: 0 where it began with it, 1 where not, 2 where it may not be looked at. Sets e to the text and
# what follows, and o where it had an environment at all. (Shells drop the NULs in what they read.)
marked() {
  o=
  while IFS= read -r e || [ -n "$e" ]; do
    o=1
    case $e in *"$2"*) e=$2${e#*"$2"}; return 0;; esac
  done <"/proc/$1/environ" || return 2
  return 1
}

meant() {
  marked "$1" "ENTRY_SESSION=$T:" || return
  e=${e#"ENTRY_SESSION=$T:"} e=${e%"${e#????????????????}"}
  case $N in *" $e "*) return 0;; esac
  return 3
}

known() { case $K in *" $1 "*) ;; *) K="$K$1 ";; esac; }

scan() { "scan_$W" 2>/dev/null; }

# In is who has the mark, who was in before, and who shares the terminal session of one that is in, or is its child.
scan_tree() {
  A= L=' ' S=' 0 1 ' X= D=
  for d in /proc/[0-9]*; do
    p=${d#/proc/}
    read -r st <"$d/stat" || continue
    set -- ${st##*) }
    case $1 in Z|X) continue;; esac
    # Who shares a terminal session with one that is in need not be looked into.
    case "$K${S#' 0 1'}|$J" in *" $p/${20} "*"|"*|*" $4 "*"|"*) m=0;; *" $p/${20} "*) m=1;; *)
      meant "$p"; m=$?
      [ $m = 2 ] && [ "${20}" -ge "$B" ] && X="$X $p"
      # Who is about to run another program may have none for a moment, and an exec that is being started has not its own
      # yet: its parent is outside, as this one's is.
      case $m/$o/$PPID/$2 in 3/*|1/1/0/[1-9]*) J="$J$p/${20} ";; esac;;
    esac
    if [ $m = 0 ]; then
      L="$L$p "; known "$p/${20}"
      case $S in *" $4 "*) ;; *) S="$S$4 ";; esac
    else A="$A $p $2 $4 ${20}"; fi
  done
  S=${S#' 0 1'} n=1
  while [ $n = 1 ] && [ "$L" != ' ' ]; do
    n=0; set -- $A; A=
    while [ $# -ge 4 ]; do
      case $1 in 1|$$) ;; *)
        case "$S|$L" in
          *" $3 "*"|"*|*"|"*" $2 "*) L="$L$1 "; known "$1/$4"; n=1;;
          *) A="$A $1 $2 $3 $4";;
        esac;;
      esac
      shift 4
    done
  done
  for p in $X; do case $L in *" $p "*) ;; *) [ -d "/proc/$p" ] && D=1;; esac; done
}

# R = the terminal sessions of marked processes whose parent is outside: the exec's own.
scan_session() {
  A= L=' ' D=
  for d in /proc/[0-9]*; do
    p=${d#/proc/}
    read -r st <"$d/stat" || continue
    set -- ${st##*) }
    case $1 in Z|X) continue;; esac
    [ "$2" = 0 ] && [ "$p" != $$ ] && meant "$p" && R="$R$4 "
    A="$A $p $4 ${20}"
  done
  set -- $A
  while [ $# -ge 3 ]; do
    case $R in *" $2 "*)
      i=
      while read -r k v; do case $k$v in SigIgn:*[13579bdf]) i=1;; esac; done <"/proc/$1/status"
      if [ -z "$i" ] || [ "$1" = "$2" ]; then L="$L$1 "; known "$1/$3"; fi;;
    esac
    shift 3
  done
}

nap() { sleep 0.1 2>/dev/null || sleep 1; }

# Whole seconds since the machine's start.
now() { read -r u e </proc/uptime; u=${u%%.*}; }

# The hang-up, as a terminal gives it; a grace of one to two seconds, however long the looking takes; the kill.
finish() {
  scan
  [ "$L" = ' ' ] && return
  kill -HUP $L; kill -CONT $L
  now; t=$((u + 2))
  while [ "$u" -lt $t ] && { nap; scan; [ "$L" != ' ' ]; }; do now; done
  c=0; while [ "$L" != ' ' ] && [ $c -lt 20 ]; do kill -KILL $L; nap; scan; c=$((c+1)); done
} 2>/dev/null
