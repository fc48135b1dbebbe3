# Sourced by scripts that test/sandbox runs: a scratch cluster in $DURABLE_TMP, reached through a socket in it only.

bindir=$("$PG_CONFIG" --bindir)
export PATH=$bindir:$PATH PGHOST=$DURABLE_TMP PGPORT=5432 PGUSER=postgres PGDATABASE=postgres PSQLRC=/dev/null
data=$DURABLE_TMP/data
server_log=$DURABLE_TMP/output/server.log

# Whether the server can create this extension.
have_extension() {
	[ -e "$("$PG_CONFIG" --sharedir)/extension/$1.control" ]
}

# Makes and starts the cluster; arguments are further lines of its configuration.
cluster_start() {
	initdb -D "$data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 --no-sync >"$DURABLE_TMP/output/initdb.log" || return
	{
		cat "$DURABLE_TMP/paths.conf"
		cat <<-CONF
			shared_preload_libraries = 'durable'
			listen_addresses = ''
			unix_socket_directories = '$PGHOST'
			port = $PGPORT
			max_worker_processes = 32
			timezone = 'UTC'
			log_timezone = 'UTC'
			log_line_prefix = '%m [%p] %b %q%u@%d %a '
		CONF
		printf '%s\n' "$@"
	} >>"$data/postgresql.conf"
	pg_ctl -D "$data" -l "$server_log" -s ${POSTGRES:+-p "$POSTGRES" -t 600} start
}

cluster_restart() {
	pg_ctl -D "$data" -l "$server_log" -s -m fast restart
}

cluster_stop() {
	pg_ctl -D "$data" -s -m fast stop
}

# fresh_database name extension...
fresh_database() {
	local extension name=$1
	shift
	psql -Xqc "CREATE DATABASE $name TEMPLATE template0" || return
	for extension; do
		psql -Xq -d "$name" -c "CREATE EXTENSION $extension" || return
	done
}
