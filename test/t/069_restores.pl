# Whatever a role has stored, a dump of the database is restored with the rows of all roles.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use DurableTest;

my $node = durable_node('restores');
$node->safe_psql('postgres', q(
	CREATE ROLE tenant LOGIN;
	CREATE ROLE victim LOGIN;
	CREATE ROLE heir LOGIN;
	SELECT durable.grant_usage(r) FROM unnest('{tenant, victim, heir}'::regrole[]) r;
	CREATE SCHEMA t AUTHORIZATION tenant;
	CREATE FUNCTION public.hello() RETURNS int LANGUAGE sql AS 'SELECT 1';
	CREATE FUNCTION public.nested(n int) RETURNS jsonb LANGUAGE sql AS $$ SELECT (repeat('[', n) || repeat(']', n))::jsonb $$;
	CREATE FUNCTION public.tagged(n int) RETURNS jsonb LANGUAGE sql AS $$ SELECT jsonb_build_object('a', nested(n - 1)) $$;
	CREATE FUNCTION public.calls(n int) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RETURN durable.call_activity('nested', to_jsonb(n)); END $$;
	CREATE FUNCTION public.passes(n int) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RETURN durable.call_activity('jsonb_typeof', nested(n)); END $$;
	CREATE FUNCTION public.shows(n int) RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM durable.set_custom_status(nested(n)); END $$;
	CREATE FUNCTION public.waits() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN jsonb_typeof(durable.wait_for_external_event('go')); END $$;));

sub as
{
	my ($role, $sql) = @_;
	my (undef, $out, $err) = $node->psql('postgres', $sql, extra_params => [ '-U', $role, '-v', 'VERBOSITY=sqlstate' ]);

	return $err =~ /ERROR:\s+(\S+)/ ? $1 : $out;
}

# Names of functions are in an index; what can be compressed by one method cannot by another.
as('tenant', q(ALTER ROLE tenant SET default_toast_compression = 'lz4'));
as('tenant', q(CREATE FUNCTION t.f(int) RETURNS int LANGUAGE sql AS 'SELECT 1'));
my $start = q(SELECT octet_length(durable.start_new(format('t.f(int/*%%s*/)', left(string_agg(md5(random()::text), ''), %s - 12)), '1',
	repeat(convert_from('\xf09f9880', 'UTF8'), 255) || '1')) FROM generate_series(1, 100));
is(as('tenant', sprintf($start, 1025)), '42622', 'a name that is too long is refused');
is(as('tenant', sprintf($start, 1024)), '1021', 'the longest name, with an id as long as can be');
is(as('tenant', q(SELECT max(octet_length(name)) FROM durable.instances)), '1024', 'it is stored');

# Nested values: a restore has less room on the stack than a client.
is(as('tenant', "SELECT durable.start_new('hello', tags => tagged(1001))"), '54000', 'tags of 1001 levels are refused');
is(as('tenant', "SELECT durable.start_new('waits', nested(1001))"), '54000', 'input is');
is(as('tenant', "SELECT durable.start_new('hello', tags => tagged(1000), instance_id => 'tagged')"), 'tagged', '1000 are taken');
is(as('tenant', "SELECT durable.start_new('waits', instance_id => 'waits')"), 'waits', 'an instance waits');
is(as('tenant', "SELECT durable.raise_event('waits', 'go', nested(1001))"), '54000', 'an event is refused');
as('tenant', "SELECT durable.start_new(name, to_jsonb(n), name || n) FROM unnest('{calls, passes, shows}'::text[]) name, unnest('{1000, 1001}'::int[]) n");
is(as('tenant', q(SELECT string_agg(concat(fn, n, ' ', runtime_status, ' ', failure ->> 'sqlstate'), ', ' ORDER BY fn, n)
	FROM unnest('{calls, passes, shows}'::text[]) fn, unnest('{1000, 1001}'::int[]) n, durable.wait_for_completion(fn || n, '1 min'))),
	'calls1000 Completed , calls1001 Failed 54000, passes1000 Completed , passes1001 Failed 54000, shows1000 Completed , shows1001 Failed 54000',
	'results, inputs of activities and custom statuses are');
is(as('tenant', "SELECT durable.raise_event('waits', 'go', nested(1000))"), '', 'an event of 1000 levels is taken');

# Some functions of PostgreSQL make text that is not valid in the database's encoding.
$node->safe_psql('postgres', q(
	CREATE FUNCTION junk() RETURNS text LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM to_date(concat('1', U&'\\00E9', '5'), 'MMDD');
	EXCEPTION WHEN OTHERS THEN RETURN left(SQLERRM, 20);
	END $$;
	CREATE FUNCTION junk_status() RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM durable.set_custom_status(to_jsonb(junk())); END $$;
	CREATE FUNCTION junk_event() RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM durable.wait_for_external_event(junk()); END $$;
	CREATE FUNCTION junk_input() RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM durable.call_activity('jsonb_typeof', jsonb_build_object('x', jsonb_build_object(junk(), 1))); END $$;
	CREATE FUNCTION junk_child() RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM durable.call_sub_orchestrator('hello', instance_id => junk()); END $$;
	CREATE FUNCTION junk_send() RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM durable.send_event('waits', junk(), '1'); END $$;
	CREATE FUNCTION junk_again(x text DEFAULT '') RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM durable.continue_as_new(to_jsonb(junk())); END $$;
	CREATE FUNCTION junk_call() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN durable.call_activity('junk') #>> '{}'; END $$;
	CREATE FUNCTION junk_raise() RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE '%', junk() USING DETAIL = junk(), HINT = junk(); END $$));
SKIP:
{
	skip 'this version makes none', 1 if $node->safe_psql('postgres', q(SELECT durable_internal.is_sound(junk()))) eq 't';
	as('tenant', "SELECT durable.start_new('waits', instance_id => 'lives')");
	is(as('tenant', $_), '22021', "refused: $_") foreach
		q(SELECT durable.start_new('hello', to_jsonb(junk()))),
		q(SELECT durable.start_new('hello', instance_id => junk())),
		q(SELECT durable.start_new('hello', version => junk())),
		q(SELECT durable.start_new('hello', tags => jsonb_build_object(junk(), 1))),
		q(SELECT set_config('search_path', quote_ident(junk()) || ', public', false), durable.start_new('hello')),
		q(SELECT durable.raise_event('lives', junk())),
		q(SELECT durable.raise_event('lives', 'other', jsonb_build_array(junk()))),
		q(SELECT durable.terminate('lives', junk())),
		q(SELECT durable.suspend('lives', junk()));
	my $all = q(unnest('{junk, junk_status, junk_event, junk_input, junk_child, junk_send, junk_again, junk_call, junk_raise}'::text[]) fn);
	as('tenant', "SELECT durable.start_new(fn, instance_id => fn) FROM $all");
	is(as('tenant', "SELECT string_agg(fn || ' ' || runtime_status || coalesce(' ' || (failure ->> 'sqlstate'), ''), ', ' ORDER BY fn) FROM $all, durable.wait_for_completion(fn, '1 min')"),
		'junk Failed 22021, junk_again Failed 22021, junk_call Failed 22021, junk_child Failed 22021, junk_event Failed 22021, junk_input Failed 22021, '
		. 'junk_raise Failed P0001, junk_send Failed 22021, junk_status Failed 22021', 'what code makes is');
	is(as('tenant', qq(INSERT INTO durable.schedules (schedule_name, cron_expression, name, search_path) VALUES (junk(), '', '', ''))), '23514', 'a schedule is refused');
	is(as('tenant', qq(INSERT INTO durable.schedules (schedule_name, cron_expression, name, search_path, input) VALUES ('x', '', '', '', to_jsonb(junk())))), '23514', 'and its input');
}

# A schedule may be written by hand.
my $schedule = q(INSERT INTO durable.schedules (schedule_name, cron_expression, name, search_path, %s) VALUES ('nightly', '0 0 * * *', 'hello', 'public', %s));
is(as('tenant', sprintf($schedule, 'retention', q('-2562047788:00:54.775807'::interval - interval '1 microsecond'))), '23514', 'a retention that cannot be read again is refused');
is(as('tenant', sprintf($schedule, 'retention', q('178956970 years 7 mons'::interval + '-2562047788:00:54.775807' - interval '1 microsecond'))), '23514', 'whatever its months are');
is(as('tenant', sprintf($schedule, 'input', 'nested(1001)')), '23514', 'so is an input of 1001 levels');
is(as('tenant', sprintf($schedule, 'tags', 'tagged(1001)')), '23514', 'so are tags');
is(as($_, sprintf($schedule, 'input', 'nested(1000)')), '', "a schedule of $_") foreach 'tenant', 'victim';
is(as('victim', "SELECT durable.start_new('hello', instance_id => 'victim')"), 'victim', 'another role has an instance');

# The role is there, was dropped, or the rows are another's.
my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump';

sub restores
{
	my ($database, $what) = @_;
	my $count = q(SELECT count(*) || ' ' || (SELECT count(*) FROM durable.schedules) FROM durable.instances);

	$node->command_ok([ 'pg_dump', '-f', $dump, $node->connstr('postgres') ], "pg_dump: $what");
	$node->safe_psql('postgres', "CREATE DATABASE $database TEMPLATE template0");
	$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, $node->connstr($database) ], "restore: $what");
	is($node->safe_psql($database, $count), $node->safe_psql('postgres', $count), "$what: all rows are there");
	return;
}

restores('d1', 'all roles are there');
$node->safe_psql('postgres', q(SELECT durable.reassign_owner('tenant', 'heir')));
$node->safe_psql('postgres', q(SELECT durable.reassign_owner('heir', 'tenant')));
is($node->safe_psql('postgres', q(SELECT count(*) > 5 FROM durable.instances WHERE owner = 'tenant'::regrole)), 't', 'instances are given away and back');
$node->safe_psql('postgres', $_) foreach 'DROP OWNED BY tenant CASCADE', 'DROP DATABASE d1', 'DROP ROLE tenant';
restores('d2', 'a role was dropped');

# A child that a turn starts while its parent waits to be given away goes with the parent.
$node->safe_psql('postgres', q(
	CREATE ROLE tenant LOGIN;
	SELECT durable.grant_usage('tenant');
	CREATE FUNCTION fails() RETURNS int LANGUAGE sql AS 'SELECT 1 / 0';
	CREATE FUNCTION parent(depth int) RETURNS int LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM durable.wait_for_external_event('go');
		RETURN durable.call_sub_orchestrator('waits');
	END $$));
as('tenant', q(SELECT durable.start_new('fails', instance_id => 'first')));
poll_until($node, q(SELECT runtime_status = 'Failed' FROM durable.get_status('first')), 'an instance fails');
as('tenant', q(SELECT durable.start_new('parent', '1', 'parent')));
poll_until($node, q(SELECT count(*) = 1 FROM durable.history WHERE instance_id = 'parent' AND event_type = 'EventSubscribed'), 'another one waits');
my $holder = $node->background_psql('postgres', extra_params => [ '-U', 'tenant' ]);
$holder->query_safe(q(BEGIN; SELECT durable.rewind('first')));
my $mover = $node->background_psql('postgres');
$mover->query_until(qr/moves/, "\\echo moves\nSELECT durable.reassign_owner('tenant', 'heir');\n");
poll_until($node, q(SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE '%reassign_owner%' AND wait_event_type = 'Lock'), 'the call waits for a row');
as('tenant', q(SELECT durable.raise_event('parent', 'go')));
poll_until($node, q(SELECT count(*) = 1 FROM durable.instances WHERE parent_instance_id = 'parent'), 'a child has come');
$holder->query_safe('ROLLBACK');
$holder->quit;
$mover->quit;
is($node->safe_psql('postgres', q(SELECT string_agg(DISTINCT owner_name, ' ') FROM durable.instances WHERE 'parent' IN (instance_id, parent_instance_id))), 'heir', 'parent and child have the same owner');

# An update of the extension gives to nobody what an administrator has not given.
$node->safe_psql('postgres', q(CREATE ROLE monitor; GRANT USAGE ON SCHEMA durable TO monitor; GRANT SELECT ON durable.instances TO monitor));
my $may_start = q(SELECT string_agg(rolname, ' ' ORDER BY rolname) FROM pg_roles r, pg_proc p WHERE NOT rolsuper AND p.oid = 'durable.start_new'::regproc AND has_function_privilege(r.oid, p.oid, 'EXECUTE'));
$node->safe_psql('postgres', 'REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA durable FROM victim');
is($node->safe_psql('postgres', $may_start), 'heir tenant', 'before the update');
$node->safe_psql('postgres', 'ALTER EXTENSION durable UPDATE');
is($node->safe_psql('postgres', $may_start), 'heir tenant victim', 'those that grant_usage was run for may start instances after it');

# A session goes on when the extension was made anew.
$node->safe_psql('postgres', 'CREATE DATABASE anew');
is($node->safe_psql('anew', q(
	CREATE FUNCTION hello() RETURNS int LANGUAGE sql AS 'SELECT 1';
	CREATE EXTENSION durable;
	SELECT count(durable.start_new('hello', instance_id => 'a' || i)) FROM generate_series(1, 8) i;
	SELECT count(*) FROM durable.query_instances();
	DROP EXTENSION durable;
	CREATE EXTENSION durable;
	SELECT count(durable.start_new('hello', instance_id => 'a' || i)) FROM generate_series(1, 8) i;
	SELECT count(*) FROM durable.query_instances();
	SELECT output FROM durable.wait_for_completion('a8', '1 min'))), "8\n8\n8\n8\n1", 'in a session in which the extension was made anew instances are started');
$node->stop;
done_testing();
