# shellcheck shell=bash
# benches/micro for the scripts that count and compare: building it, counting instructions.

# Operations of the two runs whose difference is told; the first ones settle buffers. Equally long, as arguments are.
MICRO_FEW=100
MICRO_MANY=300

# micro_build ROOT: builds the micro-benches of the checkout at ROOT and prints where they are.
micro_build() {
  local executable
  # The executable's name has a hash in it; cargo tells it.
  executable=$(cargo bench --quiet --no-run --manifest-path "$1/Cargo.toml" --bench micro --message-format json |
    sed -n 's/.*"name":"micro".*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)
  [[ -x $executable ]] || die "cargo did not say where benches/micro is"
  echo "$executable"
}

# micro_callgrind EXECUTABLE NAME OPERATIONS OUTPUT: counts one run's instructions and prints them; OUTPUT is
# callgrind's own. An empty environment makes every run's stack the same.
micro_callgrind() {
  local told
  told=$(env -i "PATH=$PATH" valgrind --tool=callgrind --callgrind-out-file="$4" "$1" --count "$2" "$3" 2>&1) ||
    die "$2 under valgrind: $told"
  sed -n 's/.*Collected : \([0-9]*\).*/\1/p' <<<"$told"
}

# micro_instructions EXECUTABLE NAME: prints `NAME INSTRUCTIONS`, those of one operation.
micro_instructions() {
  local few many
  few=$(micro_callgrind "$1" "$2" "$MICRO_FEW" /dev/null)
  many=$(micro_callgrind "$1" "$2" "$MICRO_MANY" /dev/null)
  awk -v "name=$2" -v "counted=$((many - few))" -v "operations=$((MICRO_MANY - MICRO_FEW))" \
    'BEGIN { printf "%s %.1f\n", name, counted / operations }'
}

# micro_instructions_all EXECUTABLE NAME…: the same for each, in this order. Counts do not mind company, so several
# run at once.
micro_instructions_all() {
  local executable=$1 counted
  shift
  export MICRO_FEW MICRO_MANY
  export -f micro_instructions micro_callgrind say die
  counted=$(printf '%s\n' "$@" |
    xargs -P "$(nproc)" -I '{}' bash -euc 'micro_instructions "$@"' "${0##*/}" "$executable" '{}') ||
    die "not every bench could be counted"
  awk 'NR == FNR { count[$1] = $2; next } { print $1, count[$1] }' <(echo "$counted") <(printf '%s\n' "$@")
}
