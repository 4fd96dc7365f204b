# shellcheck shell=bash
# What the scripts share: messages, packages, Python, programs that listen.

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() { say "$*"; exit 1; }

# apt_need PACKAGE…: installs those of Debian's packages that are missing.
apt_need() {
  local package missing=()
  for package; do
    dpkg-query -W -f='${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
  done
  [[ ${#missing[@]} -eq 0 ]] && return
  say "installing ${missing[*]}"
  local install=(apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=300 "${missing[@]}")
  # Lists may be absent or so old that they name versions which the mirror no longer has.
  if ! DEBIAN_FRONTEND=noninteractive "${install[@]}" >/dev/null 2>&1; then
    apt-get update -qq -o DPkg::Lock::Timeout=300 >&2
    DEBIAN_FRONTEND=noninteractive "${install[@]}" >&2 || die "cannot install ${missing[*]}"
  fi
}

# npm_need: there is a Node.js with npm, of Debian's packages where there was none.
npm_need() { command -v npm >/dev/null || apt_need npm; }

# promtool: prints the path of Prometheus's own checker, out of Debian's package, which is not installed: it would start a
# server.
promtool() {
  local place=${XDG_CACHE_HOME:-$HOME/.cache}/entry-promtool
  (
    mkdir -p "$place"
    flock 9
    [[ -x $place/usr/bin/promtool ]] && exit
    cd "$place"
    apt-get download -qq prometheus >/dev/null 2>&1 || { apt-get update -qq >&2 && apt-get download -qq prometheus >&2; }
    dpkg-deb -x prometheus_*.deb . && rm prometheus_*.deb
  ) 9>"$place.lock" || die "cannot get Debian's package prometheus"
  echo "$place/usr/bin/promtool"
}

# static_entry: builds the static binary that the image has, and prints its path.
static_entry() {
  local target flags='-C target-feature=+crt-static'
  # Where the C library relocates what is packed (glibc from 2.36 on), that saves 0.1 MB.
  if [[ $(printf '%s\n' 2.36 "$(getconf GNU_LIBC_VERSION | sed 's/.* //')" | sort -V | head -n 1) == 2.36 ]]; then
    flags+=' -C link-arg=-Wl,-z,pack-relative-relocs'
  fi
  # What is longer is not copied into its callers, unless it is marked `#[inline]`, as all is that a key, its echo and a
  # PING meet: that saves 0.5 MB (the compiler's own limit is 225).
  flags+=' -C llvm-args=-inline-threshold=25'
  # With a target named, build scripts and procedural macros are built without the flags, which they could not bear.
  target=$(rustc -vV | sed -n 's/^host: //p')
  RUSTFLAGS=$flags cargo build --release --quiet --bin entry --target "$target" \
    --target-dir target/static >&2
  echo "$PWD/target/static/$target/release/entry"
}

# python_venv REQUIREMENTS: prints the python of an environment with these packages; made once and cached.
python_venv() {
  local place
  place=${XDG_CACHE_HOME:-$HOME/.cache}/entry-venvs/$(sha256sum "$1" | cut -c 1-16)
  mkdir -p "${place%/*}"
  (
    flock 9
    [[ -f $place/complete ]] && exit
    rm -rf "$place"
    if ! python3 -c 'import venv, ensurepip' 2>/dev/null; then apt_need python3-venv; fi
    python3 -m venv "$place"
    "$place/bin/pip" install --quiet --disable-pip-version-check -r "$1" >&2
    touch "$place/complete"
  ) 9>"$place.lock" || die "cannot make a Python environment of $1"
  echo "$place/bin/python"
}

# listener_start LOG COMMAND…: starts COMMAND, standard error into LOG, and waits for its line `listening on ADDRESS`;
# sets LISTENER_PID and LISTENER_ADDRESS. The caller ends it.
listener_start() {
  local log=$1 deadline=$((SECONDS + 20))
  shift
  : >"$log"
  "$@" 2>"$log" </dev/null &
  LISTENER_PID=$!
  until LISTENER_ADDRESS=$(sed -n 's/.*listening on \([^ ]*:[0-9]*\).*/\1/p' "$log" | head -n 1); [[ $LISTENER_ADDRESS ]]; do
    if ! kill -0 "$LISTENER_PID" 2>/dev/null || [[ $SECONDS -ge $deadline ]]; then
      tail -n 20 "$log" >&2
      die "$1 did not say where it listens"
    fi
    sleep 0.05
  done
}
