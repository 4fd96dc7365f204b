# shellcheck shell=bash
# Engines of other Debian releases, unpacked beside the system and not installed. Sourced by scripts/engines.
#
#   unpack_engine KIND      fetches and unpacks what is missing in the cache
#   unpack_bin KIND         the folder of its programs
#
# The packages come by `apt-get download` from the mirror that the machine's apt uses, of another release, with
# lists and state of their own. Programs are made to find the unpacked loader and libraries, which may be newer
# than the system's. To fetch anew, when a release has moved on, remove the cache.

UNPACK_CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/entry-engines

unpack_suite() {
  case $1 in
    docker20 | podman4) echo bookworm ;;
    docker26) echo trixie ;;
    docker28 | podman5) echo sid ;;
  esac
}

unpack_packages() {
  case $1 in
    docker20 | docker26) echo docker.io containerd runc tini ;;
    podman4) echo podman conmon runc tini ;;
    # Its static program, which is run inside containers, is a package of its own since.
    docker28) echo docker.io containerd runc tini-static ;;
    podman5) echo podman conmon runc netavark tini-static ;;
  esac
}

unpack_bin() { echo "$UNPACK_CACHE/$1/bin"; }

unpack_engine() {
  local kind=$1 place=$UNPACK_CACHE/$1
  mkdir -p "$place"
  (
    flock 9
    [[ -f $place/complete ]] || unpack_now "$kind" "$place"
  ) 9>"$UNPACK_CACHE/$kind.lock"
}

# unpack_now KIND PLACE: the programs in PLACE/bin, their libraries under PLACE/root.
unpack_now() {
  local kind=$1 place=$2 packages
  apt_need patchelf
  # The closure follows libraries only: no daemons, no tools, nothing that wants a configured system.
  read -ra packages < <(unpack_packages "$kind")
  say "fetching $kind from Debian $(unpack_suite "$kind")"
  rm -rf "$place"
  mkdir -p "$place"/{root,bin,packages}
  unpack_apt_configuration "$place/apt" "$(unpack_suite "$kind")"
  (
    export APT_CONFIG=$place/apt/apt.conf
    apt-get update -qq
    mapfile -t packages < <(unpack_libraries "${packages[@]}")
    cd "$place/packages" || exit
    apt-get download -qq "${packages[@]}"
  )
  local package
  for package in "$place"/packages/*.deb; do dpkg -x "$package" "$place/root"; done
  unpack_programs "$place"
  rm -rf "$place/packages" "$place/apt" "$place/root"/{etc,var,usr/share}
  touch "$place/complete"
}

unpack_apt_configuration() {
  local place=$1 suite=$2 codename mirror
  # The mirror is the one of the system's own release.
  codename=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
  mirror=$(apt-get indextargets --format "\$(REPO_URI) \$(RELEASE) \$(COMPONENT)" 'Created-By: Packages' |
    awk -v release="$codename" '$2 == release && $3 == "main" { print $1; exit }')
  [[ $mirror ]] || die "cannot tell which mirror apt uses: it has no source for $codename main"
  mkdir -p "$place"/{lists,cache/archives}/partial
  : >"$place/status"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" >"$place/sources.list"
  cat >"$place/apt.conf" <<CONF
Dir::Etc::SourceList "$place/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::State "$place";
Dir::State::Lists "$place/lists";
Dir::State::Status "$place/status";
Dir::Cache "$place/cache";
Acquire::Languages "none";
APT::Sandbox::User "root";
CONF
}

# The packages and the libraries that they need, and those need, one a line.
unpack_libraries() {
  local known=" " pending=("$@") package
  while [[ ${#pending[@]} -gt 0 ]]; do
    for package in "${pending[@]}"; do
      [[ $known == *" $package "* ]] || { known+="$package "; echo "$package"; }
    done
    mapfile -t pending < <(apt-cache depends "${pending[@]}" | sed -En 's/^ +(Pre)?Depends: (lib[^ ]+)$/\2/p' | sort -u |
      while read -r package; do [[ $known == *" $package "* ]] || echo "$package"; done)
  done
}

unpack_programs() {
  local place=$1 root=$1/root program loader libraries
  find "$root"/{usr/,}{s,}bin "$root"/usr/lib{,exec}/podman -type f -perm -u+x -exec mv -t "$place/bin" {} + 2>/dev/null || true
  ln -sf tini-static "$place/bin/docker-init"
  loader=$(find "$root" -name 'ld-linux*.so.*' | head -n 1)
  libraries=$(find "$root" -name 'lib*.so*' -printf '%h\n' | sort -u | tr '\n' ':')
  for program in "$place"/bin/*; do
    # Scripts and static programs have no interpreter to set.
    patchelf --print-interpreter "$program" >/dev/null 2>&1 || continue
    patchelf --set-interpreter "$loader" --force-rpath --set-rpath "${libraries%:}" "$program"
  done
}
