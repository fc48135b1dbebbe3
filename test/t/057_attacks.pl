# Attempts of one role at another's instances, rights and session, from sessions and workers that are really the role's;
# sql/security.sql has those that need no log, no second session and no untrusted language.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use DurableTest;

my $node = durable_node('attacks', conf => "durable.max_workers = 6\ndurable.worker_idle_timeout = 1h");
$node->safe_psql('postgres', q[
CREATE ROLE alice LOGIN;
CREATE ROLE mallory LOGIN;
SELECT durable.grant_usage('alice'), durable.grant_usage('mallory');
CREATE SCHEMA alice AUTHORIZATION alice;
CREATE SCHEMA mallory AUTHORIZATION mallory;
CREATE TABLE seen (what text, who name, session name);
GRANT ALL ON seen TO PUBLIC;
CREATE FUNCTION note(what text) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
BEGIN
	IF current_setting('transaction_read_only') = 'off' THEN
		INSERT INTO public.seen VALUES (what, current_user, session_user);
	END IF;
	RETURN true;
END $$;
-- The activities one after the other, and how each ended.
CREATE FUNCTION one_by_one(names text[]) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
	results text[];
	name text;
BEGIN
	FOREACH name IN ARRAY names LOOP
		BEGIN
			results := results || (durable.call_activity(name) #>> '{}');
		EXCEPTION WHEN OTHERS THEN
			results := results || concat(SQLSTATE, ' ', SQLERRM);
		END;
	END LOOP;
	RETURN results;
END $$;
CREATE FUNCTION who() RETURNS text LANGUAGE sql AS $$ SELECT concat_ws(' ', current_user, session_user) $$;
]);

# What statements return in a session of a role; errors as their SQLSTATE.
sub as
{
	my ($role, $sql) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', "\\set VERBOSITY sqlstate\n$sql", extra_params => [ '-U', $role ], on_error_stop => 0);

	$err =~ s/^psql:.*?: (NOTICE|WARNING):.*\n//mg;
	$err =~ s/^psql:.*?: //mg;
	chomp $err;
	return join("\n", grep { length } $out, $err);
}

# Runs activities of a role one by one and returns what became of them.
my $number = 0;
sub run_activities
{
	my ($role, @names) = @_;
	my $id = "run-" . ++$number;

	$node->safe_psql('postgres', "SET search_path = $role, public; SELECT durable.start_new('one_by_one', to_jsonb(ARRAY['" . join("', '", @names) . "']), '$id')",
		extra_params => [ '-U', $role ]);
	$node->poll_query_until('postgres', "SELECT completed_time IS NOT NULL FROM durable.instances WHERE instance_id = '$id'") or die "$id does not end";
	return $node->safe_psql('postgres', "SELECT coalesce(failure->>'message', (SELECT string_agg(e, E'\\n') FROM jsonb_array_elements_text(output) e)) FROM durable.instances WHERE instance_id = '$id'");
}

# Ids of sub-orchestrations follow from the execution's, which others must not learn from the id of the instance.
$node->safe_psql('postgres', q(CREATE FUNCTION public.nothing() RETURNS int LANGUAGE sql AS 'SELECT 1'; SELECT durable.start_new('public.nothing')));
is($node->safe_psql('postgres', q(SELECT count(*) FROM durable.instances WHERE replace(execution_id::text, '-', '') = instance_id)), 0, 'an execution has an id of its own');

# Nor from a plan that the caller of a SECURITY DEFINER function has printed.
my (undef, undef, $printed) = $node->psql('postgres',
	"SET client_min_messages = log; SET debug_print_plan = on; SET debug_print_rewritten = on; SELECT durable.start_new('public.nothing', instance_id => 'planned')");
like($printed, qr/ON CONFLICT|onConflict/, 'the insertion of an instance is printed');
unlike($printed, qr/:consttype 2950/, 'without the id of its execution');

#
# What one task leaves in the process is not there in the next: further kinds of state than in sql/security.sql.
#
$node->safe_psql('postgres', q[
CREATE FUNCTION leave_seed() RETURNS text LANGUAGE sql AS $$ SELECT 'left' FROM setseed(0.5) $$;
CREATE FUNCTION find_seed() RETURNS float8 LANGUAGE sql AS $$ SELECT random() $$;
CREATE FUNCTION leave_object() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	object oid := lo_from_bytea(0, 'secret');
BEGIN
	RETURN 'descriptor ' || lo_open(object, 262144);
END $$;
CREATE FUNCTION find_object() RETURNS text LANGUAGE sql AS $$ SELECT convert_from(loread(0, 100), 'UTF8') $$;
CREATE FUNCTION leave_locks() RETURNS text LANGUAGE sql AS $$ SELECT 'left' FROM pg_advisory_lock(1) a, pg_advisory_xact_lock(2) b $$;
CREATE FUNCTION find_locks() RETURNS bigint LANGUAGE sql AS $$ SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 1 $$;
CREATE FUNCTION leave_names() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	-- names that the engine and its functions use
	CREATE TEMP TABLE instances (a int);
	CREATE TEMP TABLE history (a int);
	CREATE TEMP TABLE pg_class (relname text);
	CREATE TEMP TABLE pg_proc (proname text);
	CREATE TEMP TABLE pg_type (typname text);
	CREATE TYPE pg_temp.orchestration_status AS (a int);
	CREATE DOMAIN pg_temp.jsonb AS pg_catalog.text CHECK (public.note('pg_temp.jsonb'));
	CREATE DOMAIN pg_temp.interval AS pg_catalog.text CHECK (public.note('pg_temp.interval'));
	CREATE FUNCTION pg_temp.now() RETURNS timestamptz LANGUAGE sql AS 'SELECT timestamptz ''epoch'' WHERE public.note(''pg_temp.now'')';
	CREATE FUNCTION pg_temp.jsonb_eq(a pg_catalog.jsonb, b pg_catalog.jsonb) RETURNS boolean LANGUAGE sql AS 'SELECT public.note(''pg_temp.jsonb_eq'')';
	CREATE OPERATOR pg_temp.= (FUNCTION = pg_temp.jsonb_eq, LEFTARG = pg_catalog.jsonb, RIGHTARG = pg_catalog.jsonb);
	PERFORM durable.start_new('public.who', instance_id => 'started-beside-temp-objects', tags => '{"a": 1}');
	PERFORM durable.set_custom_status('started-beside-temp-objects', '1');
	PERFORM durable.retry_policy(3, '1 s');
	RETURN (SELECT count(*) FROM durable.query_instances(instance_ids => '{started-beside-temp-objects}', tags => '{"a": 1}'))
	    || ' ' || (SELECT count(*) FROM durable.explain('started-beside-temp-objects') WHERE explain LIKE 'Instance%')
	    || ' ' || ((durable.get_status('started-beside-temp-objects')).runtime_status);
END $$;
CREATE FUNCTION find_names() RETURNS bigint LANGUAGE sql AS $$
	SELECT (SELECT count(*) FROM pg_class WHERE relnamespace = pg_my_temp_schema()) + (SELECT count(*) FROM pg_proc WHERE pronamespace = pg_my_temp_schema())
	     + (SELECT count(*) FROM pg_type WHERE typnamespace = pg_my_temp_schema()) $$;
]);
my $known = $node->safe_psql('postgres', 'SELECT setseed(0.5); SELECT random()');
$known =~ s/^\n//;
my ($found) = run_activities('mallory', qw(leave_seed find_seed)) =~ /^left\n([0-9.e-]+)$/;
ok(defined $found && $found ne $known, 'the seed of random()');
is(run_activities('mallory', qw(leave_object find_object)), "descriptor 0\n42704 invalid large-object descriptor: 0", 'open large objects');
is(run_activities('mallory', qw(leave_locks find_locks)), "left\n0", 'advisory locks');
is($node->safe_psql('postgres', q[SELECT count(*) FROM pg_locks WHERE locktype = 'advisory']), 0, 'also those of the transaction, once it has ended');
is(run_activities('mallory', qw(leave_names find_names)), "1 1 Pending\n0", 'temporary tables, types, functions, operators; none of them is taken for a thing of the engine');
is($node->safe_psql('postgres', 'TABLE seen'), '', 'nor called by it');

# An untrusted language has memory of its own, which belongs to the process: another role has another one.
SKIP:
{
	my ($rc, $out, $err) = $node->psql('postgres', q[
		CREATE EXTENSION plpython3u;
		CREATE FUNCTION leave_python() RETURNS text LANGUAGE plpython3u AS 'GD["secret"] = "left"; import builtins; builtins.secret = "left"; return "left"';
		CREATE FUNCTION find_python() RETURNS text LANGUAGE plpython3u AS 'import builtins; return GD.get("secret", "none") + " " + getattr(builtins, "secret", "none")';]);

	skip 'no plpython3u', 3 if $rc;
	is(run_activities('alice', 'leave_python'), 'left', 'what PL/Python keeps');
	is(run_activities('mallory', qw(find_python)), 'none none', 'does not pass to another role');
	# another process of hers may run the second
	my $kept;
	for (1 .. 20)
	{
		last if ($kept = run_activities('alice', qw(leave_python find_python))) eq "left\nleft left";
	}
	is($kept, "left\nleft left", 'but to the next activities of its own, as docs/security.md says');
}

#
# Conversions that a user writes run as the user, also when a superuser manages the instance.
#
as('mallory', q[
SET search_path = mallory;
CREATE DOMAIN trap AS int CHECK (public.note('domain'));
CREATE FUNCTION by_default() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM public.note('default'); RETURN 1; END $$;
CREATE TYPE answer AS ENUM ('a');
CREATE FUNCTION to_json(answer) RETURNS json LANGUAGE plpgsql AS $$ BEGIN PERFORM public.note('cast'); RETURN '"cast"'; END $$;
CREATE CAST (answer AS json) WITH FUNCTION to_json(answer);
CREATE FUNCTION trapped(x trap, y int DEFAULT by_default()) RETURNS answer LANGUAGE sql AS 'SELECT ''a''::mallory.answer';
CREATE FUNCTION folded() RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN public.note('immutable'); END $$;
CREATE FUNCTION call_trapped(x trap) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN
	IF mallory.folded() THEN RETURN durable.call_activity('mallory.trapped', '{"x": 1}'); END IF; END $$;
SELECT durable.start_new('call_trapped', '1', 'trap');
]);
poll_until($node, q[SELECT output FROM durable.get_status('trap')], 'types, casts and defaults of a user', '"cast"');
as('mallory', q[CREATE FUNCTION mallory.failing(x mallory.trap) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE 'trap'; END $$;
	SELECT durable.start_new('mallory.failing', '1', 'failing')]);
poll_until($node, q[SELECT runtime_status FROM durable.get_status('failing')], 'one that fails', 'Failed');
$node->safe_psql('postgres', q[
SELECT durable.restart('trap', false);
SELECT durable.wait_for_completion('trap');
SELECT durable.restart('trap', true);
SELECT durable.rewind('failing');
SELECT durable.wait_for_completion('failing');
SELECT count(*) FROM durable.explain('trap'), durable.get_status('trap', true, true), durable.history, durable.query_instances();
SELECT * FROM durable.check_orchestrator('mallory.call_trapped(mallory.trap)');
SELECT durable.purge_instance_history('failing');
]);
is($node->safe_psql('postgres', q[SELECT DISTINCT who, session FROM seen WHERE who <> 'mallory']), '', 'a superuser who restarts, rewinds, reads and checks runs none of it');
is($node->safe_psql('postgres', q[SELECT DISTINCT what FROM seen ORDER BY 1]), "cast\ndefault\ndomain", 'its owner does');

#
# Event triggers of a superuser fire as the role that runs the command, in its worker.
#
$node->safe_psql('postgres', q[
TRUNCATE seen;
CREATE FUNCTION ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
	IF session_user <> 'postgres' THEN
		PERFORM public.note(tg_tag);
		IF tg_tag = 'CREATE VIEW' THEN RAISE 'no views'; END IF;
	END IF;
END $$;
CREATE EVENT TRIGGER ddl ON ddl_command_end EXECUTE FUNCTION ddl();
CREATE EVENT TRIGGER dropped ON sql_drop EXECUTE FUNCTION ddl();
CREATE FUNCTION make_table() RETURNS text LANGUAGE plpgsql AS $$ BEGIN CREATE TABLE mallory.made (a int); CREATE TEMP TABLE gone (a int); RETURN 'made'; END $$;
CREATE FUNCTION make_view() RETURNS text LANGUAGE plpgsql AS $$ BEGIN CREATE VIEW mallory.view AS SELECT 1 AS a; RETURN 'made'; END $$;
CREATE FUNCTION make_trigger() RETURNS text LANGUAGE plpgsql AS $$ BEGIN CREATE EVENT TRIGGER mine ON ddl_command_end EXECUTE FUNCTION public.ddl(); RETURN 'made'; END $$;
]);
is(run_activities('mallory', qw(make_table make_view make_trigger who)),
	qq[made\nP0001 no views\n42501 permission denied to create event trigger "mine"\nmallory mallory], 'event triggers');
is($node->safe_psql('postgres', 'SELECT DISTINCT what, who, session FROM seen'), 'CREATE TABLE|mallory|mallory', 'fire as the role');
$node->safe_psql('postgres', 'DROP EVENT TRIGGER ddl; DROP EVENT TRIGGER dropped');

#
# What runs is not shown to others, nor can they touch the processes.
#
$node->safe_psql('postgres', q[CREATE FUNCTION alice_secret_activity() RETURNS void LANGUAGE sql AS 'SELECT pg_sleep(600)';
	CREATE FUNCTION alice_secret_orchestrator(x jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RETURN durable.call_activity('alice_secret_activity'); END $$]);
as('alice', q[SELECT durable.start_new('alice_secret_orchestrator', '"alice-secret"', 'alice-secret', tags => '{"alice": "secret"}')]);
poll_until($node, q[SELECT count(*) = 1 FROM pg_stat_activity WHERE query = 'alice_secret_activity' AND wait_event = 'PgSleep'], 'alice runs something');
is(as('mallory', q[SELECT count(*) FROM pg_stat_activity a WHERE a::text ~ 'secret' AND pid <> pg_backend_pid()]), 0, 'pg_stat_activity does not show it to mallory');
for my $view (split /\n/, $node->safe_psql('postgres', q[SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'durable'::regnamespace AND c.relkind IN ('v', 'r', 'm')]))
{
	is(as('mallory', "SELECT count(*) FROM durable.$view v WHERE v::text ~ 'alice'"), 0, "nor does durable.$view");
	# these are read, and schedules written through their policies
	like(as('mallory', "BEGIN; LOCK durable.$view IN EXCLUSIVE MODE; ROLLBACK; SELECT 1 FROM durable.$view FOR UPDATE; DELETE FROM durable.$view; INSERT INTO durable.$view SELECT * FROM durable.$view;"),
		qr/^(?:ERROR:  (?:42501|55000|0A000|428C9)\n?)+$/, "durable.$view can be read only") if $view ne 'schedules';
}
is(as('mallory', q[INSERT INTO durable.schedules (schedule_name, owner_name, cron_expression, name, search_path, job_id) VALUES ('x', 'alice', '* * * * *', 'who', 'public', 1)]),
	'ERROR:  42501', 'no schedules in the name of another');
for my $kind ('launcher', 'scheduler', 'worker')
{
	my $pids = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'durable $kind' AND usename IS DISTINCT FROM 'mallory'";
	for my $pid (split /\n/, $node->safe_psql('postgres', $pids))
	{
		is(as('mallory', "SELECT pg_cancel_backend($pid); SELECT pg_terminate_backend($pid)"), "ERROR:  42501\nERROR:  42501", "no signals to the $kind");
	}
}
is(as('mallory', q[SELECT count(*) FROM pg_proc WHERE pronamespace = 'durable_internal'::regnamespace]), $node->safe_psql('postgres',
	q[SELECT count(*) FROM pg_proc WHERE pronamespace = 'durable_internal'::regnamespace]), 'internal functions can be seen');
is($node->safe_psql('postgres', q[SELECT has_schema_privilege('mallory', 'durable_internal', 'USAGE, CREATE'), has_schema_privilege('mallory', 'durable', 'CREATE')]),
	'f|f', 'but none can be called, and none be added');

# In each public function with the id of an instance: the same as for none, in code and text.  send_event is in sql/security.sql.
my @calls = split /\n/, $node->safe_psql('postgres', q[
	SELECT CASE prokind WHEN 'p' THEN 'CALL ' ELSE 'SELECT ' END || 'durable.' || quote_ident(proname) || '('
	    || string_agg(CASE WHEN a.name IN ('instance_id', 'parent_instance_id') THEN '%1$L'
	                       ELSE coalesce(CASE a.type WHEN 'text'::regtype THEN quote_literal('x') WHEN 'jsonb'::regtype THEN quote_literal('1')
	                                                 WHEN 'boolean'::regtype THEN 'true' WHEN 'interval'::regtype THEN quote_literal(CASE a.name WHEN 'retry_interval' THEN '1 ms' ELSE '2 ms' END) END, 'NULL')
	                            || '::' || format_type(a.type, NULL) END, ', ' ORDER BY a.n) || ')'
	  FROM pg_proc p CROSS JOIN LATERAL unnest(coalesce(proargtypes::oid[], '{}'), proargnames[1:pronargs]) WITH ORDINALITY a (type, name, n)
	 WHERE pronamespace = 'durable'::regnamespace AND proargnames[1:pronargs] && '{instance_id,parent_instance_id}'
	   AND proname NOT IN ('start_new', 'send_event', 'call_sub_orchestrator', 'schedule_sub_orchestrator', 'start_sub_orchestrator')
	 GROUP BY p.oid, prokind, proname]);
cmp_ok(scalar(@calls), '>', 12, 'functions that take the id of an instance');
for my $call (@calls)
{
	my %got;
	for my $id ('alice-secret', 'nothing-at-all')
	{
		(my $sql = $call) =~ s/%1\$L/'$id'/g;
		($got{$id}) = ($node->psql('postgres', $sql, extra_params => [ '-U', 'mallory' ]))[2];
		$got{$id} .= $node->psql('postgres', $sql, extra_params => [ '-U', 'mallory' ]) // '';
		$got{$id} =~ s/$id/ID/g;
	}
	is($got{'alice-secret'}, $got{'nothing-at-all'}, "$call: as if there were none");
}
is($node->safe_psql('postgres', q[SELECT runtime_status FROM durable.get_status('alice-secret')]), 'Running', 'it runs as if nothing had been');
# what mallory waits for, listens to and logs
is(as('mallory', q[LISTEN durable; SELECT count(*) FROM pg_notification_queue_usage() u WHERE u > 0]), 0, 'no notifications unless an administrator wants them');
$node->safe_psql('postgres', q[SELECT durable.terminate('alice-secret', cancel_activities => true)]);
poll_until($node, q[SELECT runtime_status FROM durable.get_status('alice-secret')], 'it can be ended', 'Terminated');

#
# Settings of a role that its worker stumbles over, all that a role may give itself: its own instances at most suffer.
#
$node->safe_psql('postgres', q[
CREATE FUNCTION everything() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM durable.call_sub_orchestrator('public.who');
	PERFORM durable.when_all(VARIADIC ARRAY(SELECT durable.schedule_activity('public.who') FROM generate_series(1, 30)));
	PERFORM durable.sleep('1 ms');
	PERFORM durable.wait_for_external_event('e', '1 ms', '"default"');
	RETURN (durable.call_sql('SELECT public.who(), $1::text AS t', '["it''s"]') -> 'rows' -> 0)::text;
END $$]);
my %settings = map { $_->[0] => $_->[1] } (
	[ default_tablespace => q('no_such_space') ], [ temp_tablespaces => q('no_such_space') ], [ default_table_access_method => q('heap') ],
	[ client_encoding => q('LATIN1') ], [ work_mem => q('64kB') ], [ temp_buffers => q('800kB') ], [ maintenance_work_mem => q('1MB') ], [ enable_indexscan => 'off' ],
	[ enable_seqscan => 'off' ], [ enable_sort => 'off' ], [ jit => 'on' ], [ jit_above_cost => 0 ], [ force_parallel_mode => 'on' ],
	[ idle_in_transaction_session_timeout => 1 ], [ idle_session_timeout => 1 ], [ lock_timeout => 1 ], [ standard_conforming_strings => 'off' ],
	[ backslash_quote => 'off' ], [ array_nulls => 'off' ], [ transform_null_equals => 'on' ], [ IntervalStyle => 'sql_standard' ], [ DateStyle => q('German') ],
	[ bytea_output => 'escape' ], [ extra_float_digits => -15 ], [ xmloption => 'document' ], [ synchronous_commit => 'off' ], [ timezone => q('Asia/Tokyo') ],
	[ row_security => 'off' ], [ check_function_bodies => 'off' ], [ quote_all_identifiers => 'on' ], [ local_preload_libraries => q('no_such_library') ],
	[ application_name => q('durable scheduler') ], [ search_path => q('') ], [ default_transaction_deferrable => 'on' ], [ default_transaction_isolation => q('serializable') ],
	[ plan_cache_mode => 'force_custom_plan' ], [ escape_string_warning => 'on' ], [ client_min_messages => 'debug5' ], [ debug_print_plan => 'on' ],
	[ exit_on_error => 'on' ], [ role => q('mallory') ], [ vacuum_cost_delay => 100 ], [ geqo_seed => 1 ]);
# Neither a role nor the owner of a database chooses the URLs that others are given.
$node->safe_psql('postgres', 'CREATE DATABASE mallorys OWNER mallory');
like(as('mallory', "$_ SET durable.http_base_url = 'http://mallory';"), qr/42501/, "refused: $_ SET durable.http_base_url")
  for 'ALTER ROLE mallory', 'ALTER DATABASE mallorys', 'CREATE FUNCTION mallory.sets() RETURNS void LANGUAGE sql AS \'\'';
# as the role itself, where it may, in one session, as later ones have them already
my $refused = as('mallory', join("\n", map { "ALTER ROLE mallory SET $_ = $settings{$_};" } sort keys %settings));
$node->safe_psql('postgres', q[ALTER ROLE mallory SET my.setting = 'x'; LOAD 'plpgsql'; ALTER ROLE mallory SET plpgsql.variable_conflict = 'use_column']);
unlike($refused, qr/ERROR/, 'a role may give itself all of them');
$node->safe_psql('postgres', q[SELECT pg_terminate_backend(pid, 60000) FROM durable.workers WHERE role = 'mallory'::regrole AND pid IS NOT NULL]);
$node->safe_psql('postgres', q[SET ROLE mallory; SELECT durable.start_new('public.everything', instance_id => 'odd')]);
poll_until($node, q[SELECT output #>> '{}' FROM durable.get_status('odd')], 'with them it completes', q[{"t": "it's", "who": "mallory mallory"}])
  or diag($node->safe_psql('postgres', q[SELECT * FROM durable.explain('odd')]));
$node->safe_psql('postgres', 'ALTER ROLE mallory RESET ALL');

# Whatever else a role may set, all of it as low and then as high as it goes; a switch the other way round.
foreach my $extreme ([ low => 'min_val', 'enumvals[1]' ], [ high => 'max_val', 'enumvals[cardinality(enumvals)]' ])
{
	my ($how, $number, $word) = @$extreme;
	my $statements = $node->safe_psql('postgres', qq[
		SELECT string_agg(format('ALTER ROLE mallory SET %I = %L;', name,
		           CASE vartype WHEN 'bool' THEN CASE boot_val WHEN 'on' THEN 'off' ELSE 'on' END WHEN 'enum' THEN $word ELSE $number END), E'\n')
		  FROM pg_settings
		 WHERE context = 'user' AND vartype IN ('bool', 'enum', 'integer', 'real') AND name !~ '^transaction_']);
	cmp_ok(scalar(split /\n/, $statements), '>', 100, 'settings of all kinds');
	unlike(as('mallory', $statements), qr/ERROR/, "as $how as they go");
	$node->safe_psql('postgres', q[SELECT pg_terminate_backend(pid, 60000) FROM durable.workers WHERE role = 'mallory'::regrole AND pid IS NOT NULL]);
	$node->safe_psql('postgres', qq[SET ROLE mallory; SELECT durable.start_new('public.everything', instance_id => 'extreme-$how')]);
	poll_until($node, qq[SELECT output #>> '{}' FROM durable.get_status('extreme-$how')], 'with them it completes', q[{"t": "it's", "who": "mallory mallory"}])
	  or diag($node->safe_psql('postgres', qq[SELECT * FROM durable.explain('extreme-$how')]));
	# and the role's own sessions have what they need of the engine
	my $answer = as('mallory', qq[SET client_min_messages = warning; SET default_transaction_read_only = off;
		SELECT (durable.wait_for_completion('extreme-$how')).runtime_status, count(*) > 5, durable.restart('extreme-$how', false) FROM durable.explain('extreme-$how');
		SELECT count(*) FROM durable.query_instances(instance_ids => '{extreme-$how}')]);
	is(join(' ', grep { !/^(DEBUG|LOG|WARNING): / } split /\n/, $answer), "Completed|t|extreme-$how 1", 'and calls of its clients do');
	poll_until($node, qq[SELECT runtime_status FROM durable.get_status('extreme-$how')], 'so it completes again', 'Completed');
	$node->safe_psql('postgres', 'ALTER ROLE mallory RESET ALL');
}

# With this one it cannot even begin; with the other its turns and activities are cut off.
$node->safe_psql('postgres', 'ALTER ROLE mallory SET session_authorization = postgres');
$node->safe_psql('postgres', q[SELECT pg_terminate_backend(pid, 60000) FROM durable.workers WHERE role = 'mallory'::regrole AND pid IS NOT NULL]);
as('postgres', q[SET ROLE mallory; SELECT durable.start_new('public.everything', instance_id => 'usurper')]);
ok($node->poll_query_until('postgres', q[SELECT count(*) > 0 OR (SELECT output IS NOT NULL FROM durable.get_status('usurper'))
	FROM regexp_matches(pg_read_file('] . server_log($node) . q['), 'permission denied to set session authorization|cannot set parameter "session_authorization"')]), 'session_authorization as a setting');
isnt($node->safe_psql('postgres', q[SELECT output #>> '{}' ~ 'postgres' FROM durable.get_status('usurper')]), 't', 'gains nothing');
as('alice', q[SELECT durable.start_new('public.everything', instance_id => 'others')]);
poll_until($node, q[SELECT runtime_status FROM durable.get_status('others')], 'others go on', 'Completed');
$node->safe_psql('postgres', 'ALTER ROLE mallory RESET ALL');
poll_until($node, q[SELECT runtime_status FROM durable.get_status('usurper')], 'and it too without the setting', 'Completed');
$node->safe_psql('postgres', q[ALTER ROLE mallory SET statement_timeout = 1;
	CREATE FUNCTION slow() RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RETURN durable.call_sql('SELECT pg_sleep(5)'); END $$;
	SELECT pg_terminate_backend(pid, 60000) FROM durable.workers WHERE role = 'mallory'::regrole AND pid IS NOT NULL]);
as('postgres', q[SET ROLE mallory; SELECT durable.start_new('public.slow', instance_id => 'short')]);
poll_until($node, q[SELECT failure->>'sqlstate' FROM durable.get_status('short')], 'statement_timeout = 1', '57014');
$node->safe_psql('postgres', 'ALTER ROLE mallory RESET ALL');

# What is revoked from everybody is so in a worker, too, which has called the function before.
$node->safe_psql('postgres', q[CREATE FUNCTION alice.large(x text) RETURNS boolean LANGUAGE sql AS $$ SELECT pg_catalog.lo_from_bytea(0, pg_catalog.convert_to(x, 'UTF8')) > 0 $$;
	CREATE FUNCTION alice.makes() RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RETURN durable.call_activity('alice.large', '"x"'); END $$]);
sub makes
{
	return as('alice', q[SELECT durable.start_new('alice.makes') AS id \gset
		SELECT runtime_status || coalesce(' ' || (failure ->> 'sqlstate'), '') FROM durable.wait_for_completion(:'id', '1 min')]);
}
is(makes(), 'Completed', 'a built-in function') for 1 .. 3;
$node->safe_psql('postgres', 'REVOKE EXECUTE ON FUNCTION pg_catalog.lo_from_bytea(oid, bytea) FROM PUBLIC');
is(makes(), 'Failed 42501', 'and when it is revoked');

# So is what a domain's constraint calls, whose function has another owner, and what is behind a schema that a group could use.
$node->safe_psql('postgres', q[
	CREATE SCHEMA guarded; GRANT USAGE ON SCHEMA guarded TO alice;
	CREATE ROLE keyholders; GRANT keyholders TO alice; CREATE SCHEMA closed; GRANT USAGE ON SCHEMA closed TO keyholders;
	CREATE FUNCTION guarded.approve(what text) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN INSERT INTO public.seen VALUES (what, current_user); RETURN true; END $$;
	CREATE FUNCTION closed.who() RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT current_user::text';
	REVOKE EXECUTE ON FUNCTION guarded.approve FROM PUBLIC; GRANT EXECUTE ON FUNCTION guarded.approve TO alice;
	SET ROLE alice;
	CREATE DOMAIN alice.approved AS text CHECK (guarded.approve(VALUE));
	CREATE FUNCTION alice.takes(x alice.approved) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN 'took ' || x; END $$;
	CREATE FUNCTION alice.asks(x text) RETURNS jsonb LANGUAGE plpgsql AS $$
	DECLARE
		results text[];
	BEGIN
		BEGIN
			results := results || (durable.call_activity('alice.takes', to_jsonb(x)) #>> '{}');
		EXCEPTION WHEN OTHERS THEN
			results := results || SQLSTATE::text;
		END;
		BEGIN
			results := results || (durable.call_activity('closed.who') #>> '{}');
		EXCEPTION WHEN OTHERS THEN
			results := results || SQLSTATE::text;
		END;
		RETURN to_jsonb(array_to_string(results, ' '));
	END $$]);
sub asks
{
	my ($what) = @_;
	return as('alice', qq[SELECT durable.start_new('alice.asks', '"$what"') AS id \\gset
		SELECT output #>> '{}' FROM durable.wait_for_completion(:'id', '1 min')]);
}
is(asks('one'), 'took one postgres', 'a domain, and a group') for 1 .. 2;
$node->safe_psql('postgres', 'ALTER FUNCTION guarded.approve OWNER TO alice');
is(asks('two'), 'took two postgres', 'the function gets another owner');
is($node->safe_psql('postgres', q(SELECT string_agg(DISTINCT what || ' ' || who, ', ') FROM seen WHERE what IN ('one', 'two'))), 'one postgres, two alice', '... and has the rights of that owner');
$node->safe_psql('postgres', 'ALTER FUNCTION guarded.approve OWNER TO postgres; REVOKE EXECUTE ON FUNCTION guarded.approve FROM alice; REVOKE keyholders FROM alice');
is(asks('three'), '42501 42501', 'the function is revoked, and the group');
is($node->safe_psql('postgres', q(SELECT count(*) FROM seen WHERE what = 'three')), '0', '... and was not called');
# In one session of two roles.
$node->safe_psql('postgres', 'GRANT EXECUTE ON FUNCTION guarded.approve TO alice; GRANT USAGE ON SCHEMA alice TO mallory; GRANT EXECUTE ON FUNCTION alice.takes TO mallory');
is(as('postgres', q[SET ROLE alice; SELECT durable.start_new('alice.takes', '"four"') IS NOT NULL; SET ROLE mallory; SELECT durable.start_new('alice.takes', '"five"')]), "t\nERROR:  42501",
	'what one role has prepared another one does not use');
is($node->safe_psql('postgres', q(SELECT count(*) FROM seen WHERE what = 'five')), '0', '... and nothing was called');

is($node->safe_psql('postgres', 'SELECT * FROM durable_internal.violations'), '', 'no invariant is broken');
$node->stop;
my $log = slurp_file($node->logfile);
unlike($log, qr/PANIC:|TRAP:|was terminated by signal|XX000/, 'nothing has crashed');
done_testing();
