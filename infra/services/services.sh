#!/usr/bin/env bash
# services.sh start|stop|status|env   real stand-ins for what the tests need of AWS: loopback only, no Docker, no root.
#   DynamoDB   DynamoDB Local 3.3.1   Maven Central (Java 17 and mvn)
# The first start installs into SERVICES_HOME (default: ~/.cache/mastralambda-services), later ones take about a second.
# `eval "$(services.sh env)"` shows them to `go test`. A service is four functions: need_x, install_x, start_x, env_x.
set -euo pipefail

SERVICES=(dynamodb)
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
      p=$(pid "$s"); kill "$p"
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

case ${1:-} in
  start) start ;;
  stop) stop ;;
  env) print_env ;;
  status) for s in "${SERVICES[@]}"; do alive "$s" "$("marker_$s")" && echo "$s runs (pid $(pid "$s"))" || echo "$s is down"; done ;;
  *) echo "usage: $0 start|stop|status|env" >&2; exit 2 ;;
esac
