#!/usr/bin/env bash
# `make demo`, inside test/sandbox: a chain of activities, then orders that wait for approval across a server restart and
# undo their work when something fails, then an expense over HTTP. The SQL is in test/demo/.
set -eEuo pipefail
. test/cluster.sh

begin=$(date +%s%N)
bold=$'\e[1m' plain=$'\e[0m'
[ -t 1 ] || bold='' plain=''

# A heading with the seconds since the demo began.
say() {
	local now=$((($(date +%s%N) - begin) / 1000000))
	printf '\n%s[%3d.%03d s] %s%s\n' "$bold" $((now / 1000)) $((now % 1000)) "$*" "$plain"
}

# sql file [psql variables as name=value...]: runs one step.
sql() {
	local variable arguments=()
	for variable in "${@:2}"; do
		arguments+=(-v "$variable")
	done
	psql -Xq -v ON_ERROR_STOP=1 -P footer=off "${arguments[@]}" -f "test/demo/$1.sql"
}

# Shows a file of definitions and runs it.
define() {
	cat "test/demo/$1.sql"
	sql "$1"
}

# Waits until the query returns true.
poll() {
	local deadline=$((SECONDS + 30))
	until [ "$(psql -XAtqc "$1")" = t ]; do
		[ $SECONDS -lt $deadline ] || { echo "gave up waiting for: $1" >&2; return 1; }
	done
}

# The demo is a test as well: it fails unless the query returns true.
check() {
	[ "$(psql -XAtqc "$1")" = t ] || { echo "not as it should be: $1" >&2; return 1; }
}

# Starts the gateway on a free port: its URL is in $origin then, its process in $gateway_pid.
gateway_start() {
	local line
	coproc GATEWAY { exec "$1" --listen 127.0.0.1:0 2>>"$DURABLE_TMP/output/gateway.log"; }
	read -r line <&"${GATEWAY[0]}"
	echo "$line"
	origin=${line#*ready on }
	gateway_pid=$GATEWAY_PID
	[[ $origin == http://* ]]
}

# http status curl-arguments...: shows the call and its answer, which must have this status.
http() {
	local answer
	printf '$ curl -i'
	printf ' %q' "${@:2}" | sed "s/\\\\//g; s/{.*}/'&'/"
	echo
	answer=$(curl -sS -i --max-time 30 "${@:2}" | tr -d '\r')
	sed -E '/^(Date|Content-|Cache-)/d; s/,"([a-zA-Z]+)":/,\n "\1":/g' <<<"$answer"
	[[ $answer == "HTTP/1.1 $1 "* ]] || { echo "not as it should be: $1 was expected" >&2; return 1; }
}

awaiting_approval() {
	poll "SELECT custom_status = '\"awaiting approval\"' FROM durable.get_status('$1')"
}

failed() {
	echo "the demo failed; the end of the server's log:" >&2
	tail -n 40 "$server_log" >&2
}
trap failed ERR

say "A scratch cluster of $(postgres --version | sed 's/^postgres (\(.*\)) /\1 /')"
cluster_start
psql -Xqc 'CREATE EXTENSION durable'
echo "It listens on a socket in its own directory only, and goes when the demo ends."

say "1. Activity chaining: hello_sequence calls say_hello for three cities"
define hello-setup
say "It runs"
sql hello
sql history id=hello
check "SELECT output = '[\"Hello Tokyo!\", \"Hello Seattle!\", \"Hello London!\"]' FROM durable.get_status('hello')"

say "2. Orders over real tables: reserve stock, charge the card, wait for approval, ship; undo on failure"
define order-setup
say "Before the first order"
sql order-tables

say "Order 1 starts. It reserves and charges, then waits for a person"
sql order-start order=1
awaiting_approval order-1
sql status id=order-1

say "The server restarts while the order waits"
cluster_restart
say "The server is back, and the order still waits"
sql status id=order-1

say "The approval arrives, and the order continues where it stood"
sql order-approve order=1 approved=true
sql history id=order-1
check "SELECT runtime_status = 'Completed' AND output->>'status' = 'shipped' FROM durable.get_status('order-1')"

say "Order 2: the card is declined, so the reserved stock is released"
sql order-start order=2
sql order-result order=2
sql history id=order-2
check "SELECT output->>'status' = 'cancelled' FROM durable.get_status('order-2')"

say "Order 3: more than there is in stock, so there is nothing to undo"
sql order-start order=3
sql order-result order=3
sql history id=order-3
check "SELECT output->>'status' = 'cancelled' FROM durable.get_status('order-3')"

say "Order 4: a person rejects it, so the payment is refunded and the stock released"
sql order-start order=4
awaiting_approval order-4
sql order-approve order=4 approved=false
sql history id=order-4
check "SELECT output->>'status' = 'cancelled' FROM durable.get_status('order-4')"

say "What is in the tables: one order shipped, three cancelled, every piece of stock and money accounted for"
sql order-tables
check "SELECT array_agg(stock ORDER BY id) = '{9,3}' FROM products"
check "SELECT array_agg((order_id, refunded)::text ORDER BY order_id) = '{\"(1,f)\",\"(4,t)\"}' FROM payments"
check "SELECT array_agg(order_id) = '{1}' FROM shipments"

gateway=$bindir/durable-gateway
[ ! -x "$DURABLE_TMP/stage$gateway" ] || gateway=$DURABLE_TMP/stage$gateway
if [ -x "$gateway" ] && command -v curl >/dev/null; then
	say "3. Over HTTP: an expense that waits for approval"
	define expense-setup
	say "durable-gateway serves the API of Durable Functions"
	gateway_start "$gateway"
	api=$origin/runtime/webhooks/durabletask
	say "Start it: 202, and the links to go on with"
	http 202 --json '{"amount": 90}' "$api/orchestrators/expense/expense-1"
	poll "SELECT custom_status = '\"awaits approval\"' FROM durable.get_status('expense-1')"
	say "Poll: 202 as long as it is not over"
	http 202 "$api/instances/expense-1"
	say "Raise the event that it waits for"
	http 202 --json '{"by": "Ada"}' "$api/instances/expense-1/raiseEvent/Approval"
	poll "SELECT runtime_status = 'Completed' FROM durable.get_status('expense-1')"
	say "Poll again: 200 and the output"
	http 200 "$api/instances/expense-1"
	check "SELECT output = '{\"amount\": 90, \"approved_by\": \"Ada\"}' FROM durable.get_status('expense-1')"
	kill -TERM "$gateway_pid"
	wait "$gateway_pid"
else
	say "3. Over HTTP: left out, as durable-gateway is not built here, or there is no curl"
fi

cluster_stop
say "Done. The scratch cluster is gone; README.md shows how to install durable into a server of yours"
