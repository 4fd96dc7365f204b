# shellcheck shell=bash
# Container engines for tests: start a private one, fill it with images, run a command, leave nothing.
# Sourced by scripts/with-dockerd and scripts/engines, and by the `restart` helper that they hand to tests.
#
# Whoever sources it calls, in this order:
#   engine_new KIND BIN    a fresh folder; the traps that clean up; KIND is docker or podman,
#                          BIN a folder of unpacked engine programs, or empty for the system's
#   engine_start           daemon up, answering /_ping
#   engine_images          entry-busybox, entry-bash, entry-noshell, entry-nonroot imported
#   engine_run CMD…        runs CMD with the environment of a test, exits with its status
# All state is in variables ENGINE_*, and in $ENGINE_DIR/state for the helper.

ENGINE_LIB=${BASH_SOURCE[0]}
# shellcheck source=scripts/lib/common.sh
. "${ENGINE_LIB%/*}/common.sh"
# shellcheck source=scripts/lib/images.sh
. "${ENGINE_LIB%/*}/images.sh"

# How long a daemon may take to answer its first ping, and to end after SIGTERM, in seconds.
ENGINE_START_S=${ENTRY_ENGINE_START_S:-60}
ENGINE_STOP_S=${ENTRY_ENGINE_STOP_S:-30}

# What every engine needs beside itself: the images' contents, and curl to speak to it.
engine_packages() {
  [[ $EUID -eq 0 ]] || die "needs root: it starts a container engine"
  apt_need busybox-static bash-static vim-tiny ncurses-base libc-bin procps iproute2 curl ca-certificates "$@"
  command -v cc >/dev/null || apt_need gcc libc6-dev
}

# ---- life --------------------------------------------------------------------------------------

engine_new() {
  ENGINE_KIND=$1 ENGINE_BIN=$2
  engine_sweep
  ENGINE_DIR=$(mktemp -d "${TMPDIR:-/tmp}/entry-engine.XXXXXX")
  # A unix socket's name has 107 bytes, and engines put their own names under the folder's.
  [[ ${#ENGINE_DIR} -le 60 ]] || { rmdir "$ENGINE_DIR"; die "TMPDIR is too long for unix sockets: $TMPDIR"; }
  ENGINE_SOCKET=$ENGINE_DIR/engine.sock
  ENGINE_PIDFILE=$ENGINE_DIR/engine.pid
  ENGINE_LOG=$ENGINE_DIR/engine.log
  engine_process_mark "$$" >"$ENGINE_DIR/owner"
  ENGINE_CHILD=
  trap 'engine_end' EXIT
  local signal
  for signal in HUP INT TERM; do
    # shellcheck disable=SC2064 # the signal's name is meant to be expanded now
    trap "engine_signal $signal" "$signal"
  done
}

# Ends what a run left behind that was killed before it could clean up.
engine_sweep() {
  local dir pid
  for dir in "${TMPDIR:-/tmp}"/entry-engine.*; do
    [[ -f $dir/owner ]] || continue
    read -r pid _ <"$dir/owner" || continue
    if [[ $(engine_process_mark "$pid") != "$(<"$dir/owner")" ]]; then
      say "removing what an interrupted run left in $dir"
      engine_erase "$dir"
    fi
  done
}

# PID and start time: together they name a process for good.
engine_process_mark() {
  local stat
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 0
  # shellcheck disable=SC2086 # split into fields
  set -- "$1" ${stat##*) }
  echo "$1 ${21}"
}

engine_signal() {
  trap '' HUP INT TERM
  say "SIG$1"
  if [[ $ENGINE_CHILD ]]; then
    engine_kill_trees "-$1" 5 "$ENGINE_CHILD"
  fi
  exit $((128 + $(kill -l "$1")))
}

engine_end() {
  local status=$?
  # Clean up whatever fails on the way.
  set +e
  trap '' HUP INT TERM
  trap - EXIT
  [[ ${ENTRY_ENGINE_LOG:-} && -f $ENGINE_LOG ]] && cp "$ENGINE_LOG" "$ENTRY_ENGINE_LOG"
  engine_erase "$ENGINE_DIR"
  exit "$status"
}

# engine_erase DIR: containers, daemons and shims ended, mounts gone, folder removed. Asks nobody: the
# engine may be down or hang, and what is in its folder is not worth an orderly end.
engine_erase() {
  local dir=$1 roots mount tries=0
  # A shim or a monitor may be born while the list is made: again until there is none.
  while roots=$(engine_processes_of "$dir"); [[ $roots && $tries -lt 10 ]]; do
    # shellcheck disable=SC2086 # a list of process ids
    engine_kill_trees -KILL 5 $roots
    tries=$((tries + 1))
  done
  while read -r mount; do
    if [[ $mount == "$dir"/* ]]; then umount -l "$mount" || true; fi
  done < <(cut -d ' ' -f 5 /proc/self/mountinfo | sort -r)
  # What stands outside the folder: each container's control groups, and the socket of each shim of
  # containerd, which the shim's folder names.
  local container address
  for container in "$dir"/data/containers/* "$dir"/data/overlay-containers/*; do
    [[ -d $container ]] || continue
    find /sys/fs/cgroup -depth -type d -path "*${container##*/}*" -exec rmdir {} + 2>/dev/null || true
  done
  while read -r address; do
    rm -f "${address#unix://}"
  done < <(find "$dir/exec" \( -name address -o -name bootstrap.json \) -exec grep -ho 'unix:///[^"]*' {} + 2>/dev/null)
  rm -rf --one-file-system "$dir" 2>/dev/null || { sleep 0.5; rm -rf --one-file-system "$dir"; }
}

# Processes whose command line names DIR: daemons, shims, monitors.
engine_processes_of() {
  local entry pid
  for entry in /proc/[0-9]*; do
    pid=${entry#/proc/}
    [[ $pid == "$$" || $pid == "$BASHPID" ]] && continue
    if tr '\0' ' ' 2>/dev/null <"$entry/cmdline" | grep -qF "$1/"; then echo "$pid"; fi
  done
}

# engine_kill_trees SIGNAL SECONDS PID…: the processes and all their descendants; SIGKILL after SECONDS.
engine_kill_trees() {
  local signal=$1 seconds=$2 family pid deadline
  shift 2
  family=$(engine_family "$@")
  # shellcheck disable=SC2086 # a list of process ids
  kill "$signal" $family 2>/dev/null || true
  deadline=$((SECONDS + seconds))
  while [[ $SECONDS -lt $deadline ]]; do
    local alive=()
    for pid in $family; do
      engine_alive "$pid" && alive+=("$pid")
    done
    [[ ${#alive[@]} -eq 0 ]] && return
    sleep 0.05
  done
  # shellcheck disable=SC2086
  kill -KILL $family 2>/dev/null || true
}

# A zombie is dead: its parent may take its time.
engine_alive() {
  local stat
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  [[ ${stat##*) } != [ZX]* ]]
}

# The given processes and their descendants, one a line.
engine_family() {
  local all=" $* " grown=1 pid parent
  while [[ $grown ]]; do
    grown=
    while read -r pid parent; do
      if [[ $all == *" $parent "* && $all != *" $pid "* ]]; then all+="$pid " grown=1; fi
    done < <(ps -e -o pid=,ppid=)
  done
  # shellcheck disable=SC2086
  printf '%s\n' $all
}

# ---- the daemon --------------------------------------------------------------------------------

engine_start() {
  local attempt
  if [[ ${ENTRY_ENGINE_DISK_MIB:-} ]]; then
    mkdir "$ENGINE_DIR/data"
    mount -t tmpfs -o "size=${ENTRY_ENGINE_DISK_MIB}m" entry-engine "$ENGINE_DIR/data" || die "cannot mount a disk of its own"
  fi
  for attempt in 1 2 3; do
    ENGINE_TCP_PORT=$(engine_free_port)
    engine_write_state
    if engine_up; then
      local version
      version=$(engine_version)
      ENGINE_LABEL=$ENGINE_KIND${version%%.*}
      say "$ENGINE_KIND ${version:?the engine did not tell its version}"
      return
    fi
    # Between finding a free port and listening on it somebody else may have taken it.
    grep -q 'address already in use' "$ENGINE_LOG" || break
    say "port $ENGINE_TCP_PORT was taken (attempt $attempt)"
  done
  say "the engine did not come up; the end of its log:"
  tail -n 30 "$ENGINE_LOG" >&2
  exit 1
}

# Starts the daemon of the state and waits until it answers. Also what the helper's `start` does.
engine_up() {
  local address
  "engine_launch_$ENGINE_KIND"
  for address in "--unix-socket $ENGINE_SOCKET http://engine" "http://127.0.0.1:$ENGINE_TCP_PORT"; do
    # shellcheck disable=SC2086 # an option and an address
    engine_wait_ping $address || return 1
  done
}

engine_wait_ping() {
  local deadline=$((SECONDS + ENGINE_START_S)) pid
  until [[ $(curl -s --max-time 2 "${@:1:$#-1}" "${!#}/_ping" 2>/dev/null) == OK ]]; do
    for pid in $(engine_launched); do
      engine_alive "$pid" || { say "the engine ended"; return 1; }
    done
    [[ $SECONDS -lt $deadline ]] || { say "no answer to /_ping within $ENGINE_START_S s"; return 1; }
    sleep 0.1
  done
}

# engine_down SIGNAL: ends the daemon alone; what becomes of its containers is the engine's business.
engine_down() {
  local launched containerd pid
  launched=$(engine_launched)
  containerd=$(cat "$ENGINE_DIR/exec/containerd/containerd.pid" 2>/dev/null || true)
  # shellcheck disable=SC2086 # a list of process ids
  kill "$1" $launched 2>/dev/null || true
  local deadline=$((SECONDS + ENGINE_STOP_S))
  # dockerd's containerd dies with it, a moment later.
  for pid in $launched $containerd; do
    while engine_alive "$pid"; do
      [[ $SECONDS -lt $deadline ]] || { say "the engine does not end; killing it"; kill -KILL "$pid" || true; }
      sleep 0.05
    done
  done
  # A killed daemon leaves them behind, and the next one would think that it is still running: a zombie
  # that nobody collects passes for alive.
  rm -f "$ENGINE_DIR"/*.launched "$ENGINE_PIDFILE" "$ENGINE_SOCKET" "$ENGINE_DIR/exec/containerd/containerd.pid"
}

# The daemon's processes, as started.
engine_launched() { cat "$ENGINE_DIR"/*.launched 2>/dev/null || true; }

# engine_spawn NAME COMMAND…: in a session of its own, so that a Ctrl-C for the test is not for it.
engine_spawn() {
  local name=$1
  shift
  [[ $ENGINE_BIN ]] && local PATH=$ENGINE_BIN:$PATH
  setsid "$@" </dev/null >>"$ENGINE_LOG" 2>&1 &
  echo $! >"$ENGINE_DIR/$name.launched"
  disown
}

engine_launch_docker() {
  local options=(
    --data-root "$ENGINE_DIR/data" --exec-root "$ENGINE_DIR/exec" --pidfile "$ENGINE_PIDFILE"
    --host "unix://$ENGINE_SOCKET" --host "tcp://127.0.0.1:$ENGINE_TCP_PORT"
    --bridge=none --iptables=false --ip6tables=false --ip-forward=false --ip-masq=false
    # Said aloud, or the daemon waits for 15 s to make the reader think about plain TCP.
    --tls=false
    # Not the host's configuration, which may set any of these as well.
    --config-file "$ENGINE_DIR/daemon.json"
  )
  [[ -f $ENGINE_DIR/daemon.json ]] || echo '{}' >"$ENGINE_DIR/daemon.json"
  engine_spawn dockerd dockerd "${options[@]}"
}

engine_launch_podman() {
  # Its whole configuration is here: the host's, if any, is not read.
  local CONTAINERS_CONF=$ENGINE_DIR/containers.conf CONTAINERS_STORAGE_CONF=$ENGINE_DIR/storage.conf
  local CONTAINERS_REGISTRIES_CONF=$ENGINE_DIR/registries.conf HOME=$ENGINE_DIR/home
  local PODMAN_IGNORE_CGROUPSV1_WARNING=1 nproc
  nproc=$(ulimit -Hu)
  # Podman 4 lowers its own to the highest process id.
  [[ $nproc != unlimited && $nproc -lt $(</proc/sys/kernel/pid_max) ]] || nproc=$(</proc/sys/kernel/pid_max)
  export CONTAINERS_CONF CONTAINERS_STORAGE_CONF CONTAINERS_REGISTRIES_CONF HOME PODMAN_IGNORE_CGROUPSV1_WARNING
  mkdir -p "$HOME/.config/containers"
  echo '{"default":[{"type":"insecureAcceptAnything"}]}' >"$HOME/.config/containers/policy.json"
  echo 'unqualified-search-registries = []' >"$CONTAINERS_REGISTRIES_CONF"
  cat >"$CONTAINERS_STORAGE_CONF" <<CONF
[storage]
driver = "overlay"
graphroot = "$ENGINE_DIR/data"
runroot = "$ENGINE_DIR/run"
CONF
  cat >"$CONTAINERS_CONF" <<CONF
[containers]
netns = "none"
# Its own defaults are above what a root without CAP_SYS_RESOURCE may set.
default_ulimits = ["nofile=$(ulimit -Hn):$(ulimit -Hn)", "nproc=$nproc:$nproc"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file" # the others share one segment of memory with every podman of the machine
conmon_path = ["$ENGINE_BIN/conmon"]
init_path = "$ENGINE_BIN/docker-init"
helper_binaries_dir = ["$ENGINE_BIN"]
static_dir = "$ENGINE_DIR/data/libpod"
volume_path = "$ENGINE_DIR/data/volumes"
tmp_dir = "$ENGINE_DIR/tmp"
[engine.runtimes]
runc = ["$ENGINE_BIN/runc"]
CONF
  # A service listens on one address: a process for each, over the same containers.
  # The folder among the arguments is how the end finds them.
  local podman=(podman --runroot "$ENGINE_DIR/run" system service --time=0)
  engine_spawn podman "${podman[@]}" "unix://$ENGINE_SOCKET"
  cp "$ENGINE_DIR/podman.launched" "$ENGINE_PIDFILE"
  engine_spawn podman-tcp "${podman[@]}" "tcp://127.0.0.1:$ENGINE_TCP_PORT"
}

engine_version() {
  curl -s --max-time 10 --unix-socket "$ENGINE_SOCKET" http://engine/version |
    sed -n 's/.*"Components":\[{"Name":"[^"]*Engine","Version":"\([^"]*\)".*/\1/p'
}

# A port nobody listens on, below the range from which the kernel gives ports to clients.
engine_free_port() {
  local port
  while :; do
    port=$((10000 + SRANDOM % 20000))
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
  done
}

# ---- the test ----------------------------------------------------------------------------------

engine_run() {
  local status=0
  # Within another engine's CMD: that engine is the second one.
  [[ ! ${ENTRY_TEST_DOCKERD_PIDFILE:-} ]] || export DOCKER_HOST_2=$DOCKER_HOST
  export DOCKER_HOST=unix://$ENGINE_SOCKET
  export ENTRY_TEST_ENGINE_TCP=tcp://127.0.0.1:$ENGINE_TCP_PORT
  export ENTRY_TEST_ENGINE_KIND=$ENGINE_LABEL
  export ENTRY_TEST_DOCKERD_PIDFILE=$ENGINE_PIDFILE
  export ENTRY_TEST_DOCKERD_RESTART=$ENGINE_DIR/restart
  [[ ! ${ENTRY_ENGINE_DISK_MIB:-} ]] || export ENTRY_TEST_ENGINE_DISK=$ENGINE_DIR/data
  unset DOCKER_CONTEXT DOCKER_TLS_VERIFY DOCKER_CERT_PATH DOCKER_API_VERSION
  # In the background, so that a signal is acted on at once and not after CMD has ended; its standard
  # input and its signals are those of a foreground command.
  env --default-signal=INT,QUIT "$@" <&0 &
  ENGINE_CHILD=$!
  wait "$ENGINE_CHILD" || status=$?
  ENGINE_CHILD=
  exit "$status"
}

# The state and the `restart` helper that reads it.
engine_write_state() {
  {
    local name
    for name in KIND BIN DIR SOCKET PIDFILE LOG TCP_PORT; do
      name=ENGINE_$name
      printf '%s=%q\n' "$name" "${!name:-}"
    done
  } >"$ENGINE_DIR/state"
  cat >"$ENGINE_DIR/restart" <<HELPER
#!/usr/bin/env bash
# restart stop | kill | start: ends the engine in order, or at once, or starts it and waits for its ping.
set -euo pipefail
. $(printf %q "$(realpath "$ENGINE_LIB")")
. $(printf %q "$ENGINE_DIR/state")
case \${1:-} in
  stop) engine_down -TERM ;;
  kill) engine_down -KILL ;;
  start) engine_up || { tail -n 30 "\$ENGINE_LOG" >&2; exit 1; } ;;
  *) echo "usage: restart stop|kill|start" >&2; exit 2 ;;
esac
HELPER
  chmod +x "$ENGINE_DIR/restart"
}
