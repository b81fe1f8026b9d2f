#!/usr/bin/env bash
# The Redis configuration and user that deploy/ offers are enough for everything, and for no more: a
# tree is started and cancelled with them, and afterwards the server has refused nothing.
#
#     deploy.sh [SERVER]
set -euo pipefail
cd "$(dirname "$0")/../.."
server=${1:-redis-server}
bin=${BW_BIN:-build/bin}
command -v "$server" >/dev/null || { echo "skipped: no $server here"; exit 77; }
room=$(mktemp -d)
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; wait; rm -rf "$room"' EXIT

eventually() { # a condition, looked at twenty times a second, for ten seconds
    local until=$((SECONDS + 10))
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$until" ] || { tail -n 20 "$room"/*.log; echo "still not true: $*"; exit 1; }
        read -r -t 0.05 <> <(:) || true
    done
}

secret=$(head -c 18 /dev/urandom | base64 | tr -d '/+=')
sed "s/>change-me/>$secret/" deploy/redis/users.acl >"$room/users.acl"
echo "user watcher on >$secret +ping +acl|log" >>"$room/users.acl"
(umask 077 && echo "$secret" >"$room/secret")
"$server" "$PWD/deploy/redis/redis.conf" --port 0 --unixsocket "$room/redis" --dir "$room" \
    --aclfile "$room/users.acl" >"$room/redis.log" 2>&1 &
pids+=($!)
watch() { redis-cli -s "$room/redis" --user watcher --pass "$secret" --no-auth-warning "$@"; }
eventually watch ping

export BRAKEWIRE_REDIS_URL=unix://$room/redis BRAKEWIRE_REDIS_USER=brakewire
export BRAKEWIRE_REDIS_PASSWORD_FILE=$room/secret
"$bin/brakewire-agentd" --socket="$room/agentd.sock" >"$room/agentd.log" 2>&1 &
pids+=($!)
"$bin/brakewire-broker" --listen=127.0.0.1:0 --socket="$room/broker.sock" >"$room/broker.log" 2>&1 &
pids+=($!)
agentd() { curl -sf --unix-socket "$room/agentd.sock" "http://agentd$1" "${@:2}"; }
broker() { curl -sf --unix-socket "$room/broker.sock" "http://broker$1" "${@:2}"; }
eventually agentd /readyz
eventually broker /readyz

run=$(agentd /v1/runs -d '{"agent":"deploy","entry":true}')
id=$(jq -r .run_id <<<"$run")
token=$(jq -r .token <<<"$run")
eventually broker "/v1/runs/$id"
broker "/v1/runs/$id/cancel" -d '{"reason":"test"}' >/dev/null
eventually agentd "/v1/runs/$id/end" -H "Authorization: Bearer $token" -d '{"epoch":1,"state":"cancelled"}'
[ "$(broker "/v1/runs/$id" | jq -r .state)" = cancelled ]

"$bin/brakectl" --broker "unix:$room/broker.sock" --agentd "$room/agentd.sock" check

refused=$(watch acl log)
if [ -n "$refused" ]; then
    echo "$refused"
    exit 1
fi
