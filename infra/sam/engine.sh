#!/usr/bin/env bash
# engine.sh start|stop   a container engine for sam local.
# start prints the environment that sam needs: nothing where an engine answers already, else that of an engine of its own. That one
# is Debian's, needs root, and has no firewall rules: containers reach this machine and nothing else. For it a base image of 2 MB
# stands in for AWS's, since an engine without a network cannot pull: sam puts its own runtime emulator on top.
set -euo pipefail
DIR=${SERVICES_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/mastralambda-services}/engine
SOCKET=unix://$DIR/docker.sock

say() { echo "engine: $*" >&2; }
answers() { docker info > /dev/null 2>&1; }

install() {
  command -v dockerd > /dev/null && [ -x /bin/busybox ] && return 0
  if [ "$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then
    say "sam local needs a container engine: start Docker (https://docs.docker.com/engine/install), or run this as root on Debian or Ubuntu, where it installs one"
    return 1
  fi
  say "installing docker.io from Debian (once, half a minute)"
  apt-get update -q > /dev/null && DEBIAN_FRONTEND=noninteractive apt-get install -yq --no-install-recommends docker.io containerd runc iptables busybox-static > "$DIR/apt.log" 2>&1 ||
    { tail -20 "$DIR/apt.log" >&2; return 1; }
}

image() {
  local arch=x86_64 root=$DIR/root c
  [ "$(uname -m)" = aarch64 ] && arch=arm64
  local name=public.ecr.aws/lambda/provided:al2023-$arch
  docker image inspect "$name" > /dev/null 2>&1 && return 0
  rm -rf "$root"; mkdir -p "$root"/{bin,etc/ssl/certs,tmp,opt,root,var/task}; chmod 1777 "$root/tmp"
  cp /bin/busybox "$root/bin/"
  for c in sh mv chmod cp rm ls cat mkdir; do ln -s busybox "$root/bin/$c"; done
  echo 'root:x:0:0:root:/root:/bin/sh' > "$root/etc/passwd"
  cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
  tar -C "$root" -c . | docker import -c 'WORKDIR /var/task' -c 'ENV PATH=/bin LAMBDA_TASK_ROOT=/var/task LANG=en_US.UTF-8 TZ=:UTC' - "$name" > /dev/null
}

start() {
  answers && return 0 # the user's own
  mkdir -p "$DIR"
  install
  export DOCKER_HOST=$SOCKET
  if ! answers; then
    rm -f "$DIR/docker.pid"
    setsid nohup dockerd --data-root "$DIR/data" --exec-root "$DIR/exec" -H "$SOCKET" --pidfile "$DIR/docker.pid" --storage-driver overlay2 \
      --iptables=false --ip6tables=false --ip-forward=false --ip-masq=false > "$DIR/dockerd.log" 2>&1 < /dev/null &
    for _ in $(seq 120); do answers && break; sleep 0.25; done
    answers || { say "dockerd did not start:"; tail -20 "$DIR/dockerd.log" >&2; return 1; }
  fi
  image
  echo "export DOCKER_HOST=$SOCKET SAM_SKIP_PULL=1"
}

stop() {
  local p; p=$(cat "$DIR/docker.pid" 2>/dev/null) || return 0
  kill -TERM "$p" 2>/dev/null || return 0
  for _ in $(seq 100); do kill -0 "$p" 2>/dev/null || break; sleep 0.1; done
  ip link del docker0 2>/dev/null || true
  say stopped
}

case ${1:-} in
  start) start ;;
  stop) stop ;;
  *) echo "usage: $0 start|stop" >&2; exit 2 ;;
esac
