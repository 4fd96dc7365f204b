# shellcheck shell=bash
# The images of the tests, made of Debian's packages alone: no registry is asked. Sourced by engine.sh.
#
#   entry-busybox   static busybox with its applets; users root and app (uid 1000)
#   entry-bash      the same, with bash and a real vim, its libraries and terminal descriptions
#   entry-noshell   one static program, /pause, and nothing else
#   entry-nonroot   entry-busybox whose default user is app

engine_images() {
  local trees=$ENGINE_DIR/trees
  # The default command ends at once on SIGTERM, which as process 1 it would ignore without a handler, and
  # collects the orphans that it inherits.
  local idle='["/bin/sh","-c","trap \"exit 0\" TERM; while :; do sleep 3600 & wait $!; done"]'
  image_tree_busybox "$trees/busybox"
  image_tree_bash "$trees/bash"
  image_tree_noshell "$trees/noshell"
  image_import entry-busybox "$trees/busybox" "CMD $idle"
  image_import entry-nonroot "$trees/busybox" "CMD $idle" 'USER app' 'WORKDIR /home/app'
  image_import entry-bash "$trees/bash" "CMD $idle" 'ENV LANG=C.UTF-8'
  image_import entry-noshell "$trees/noshell" 'CMD ["/pause"]'
  rm -rf "$trees"
}

# image_import NAME TREE CHANGE…
image_import() {
  local name=$1 tree=$2 change answer query=()
  shift 2
  for change; do query+=(--url-query "changes=$change"); done
  answer=$(tar -C "$tree" -c . | curl -sS --unix-socket "$ENGINE_SOCKET" --url-query fromSrc=- \
    --url-query "repo=$name" "${query[@]}" \
    -H 'Content-Type: application/x-tar' -X POST -T - "http://engine/images/create") || die "cannot import $name"
  [[ $answer != *'"error"'* && $answer != *'"message"'* ]] || die "cannot import $name: $answer"
}

image_tree_busybox() {
  local tree=$1 applet
  mkdir -p "$tree"/{bin,dev,etc,home/app,proc,root,sys,tmp,usr/bin,var/tmp}
  chmod 1777 "$tree/tmp" "$tree/var/tmp"
  chmod 700 "$tree/root"
  chown 1000:1000 "$tree/home/app"
  cp "$(command -v busybox)" "$tree/bin/busybox"
  while read -r applet; do
    [[ $applet == busybox ]] || ln -s busybox "$tree/bin/$applet"
  done < <("$tree/bin/busybox" --list)
  ln -s ../../bin/env "$tree/usr/bin/env"
  printf '%s\n' 'root:x:0:0:root:/root:/bin/sh' 'app:x:1000:1000:app:/home/app:/bin/sh' \
    'nobody:x:65534:65534:nobody:/nonexistent:/bin/false' >"$tree/etc/passwd"
  printf '%s\n' 'root:x:0:' 'app:x:1000:' 'nobody:x:65534:' >"$tree/etc/group"
}

image_tree_bash() {
  local tree=$1 library entry
  image_tree_busybox "$tree"
  cp /bin/bash-static "$tree/bin/bash"
  sed -i 's|/bin/sh$|/bin/bash|' "$tree/etc/passwd"
  # vim, under busybox's name for its own as well.
  cp /usr/bin/vim.tiny "$tree/usr/bin/vim"
  ln -sf ../usr/bin/vim "$tree/bin/vi"
  while read -r library; do
    mkdir -p "$tree${library%/*}"
    cp "$library" "$tree$library"
  done < <(ldd /usr/bin/vim.tiny | grep -o '/[^ ]*')
  for entry in linux screen screen-256color vt100 xterm xterm-256color; do
    mkdir -p "$tree/lib/terminfo/${entry:0:1}"
    cp "/lib/terminfo/${entry:0:1}/$entry" "$tree/lib/terminfo/${entry:0:1}/"
  done
  mkdir -p "$tree/usr/lib/locale"
  cp -r /usr/lib/locale/C.utf8 "$tree/usr/lib/locale/"
}

image_tree_noshell() {
  local tree=$1
  mkdir -p "$tree"/{dev,etc,proc,sys,tmp}
  cc -static -Os -s -o "$tree/pause" -xc - <<'EOC'
/* pause: waits for SIGTERM or SIGINT, collecting orphans, as process 1 should.
 * pause cat: copies its input to its output; something to run where there is no shell. */
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv) {
  if (argc > 1 && strcmp(argv[1], "cat") == 0) {
    char buffer[4096];
    ssize_t length;
    while ((length = read(0, buffer, sizeof buffer)) > 0)
      for (ssize_t done = 0, wrote; done < length; done += wrote)
        if ((wrote = write(1, buffer + done, length - done)) < 0) return 1;
    return length < 0;
  }
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGCHLD);
  sigprocmask(SIG_BLOCK, &signals, 0);
  write(1, "pause: waiting\n", 15);
  for (;;) {
    int signal;
    sigwait(&signals, &signal);
    if (signal != SIGCHLD) return 0;
    while (waitpid(-1, 0, WNOHANG) > 0) ;
  }
}
EOC
}
