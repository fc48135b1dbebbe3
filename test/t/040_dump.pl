# pg_dump and restore of a database with instances of every kind, into another database of the same cluster and into a
# new cluster: those that are live go on there under the same owners, those that have ended keep their histories.
use strict;
use warnings;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use DurableTest;

# The engine is kept out while the old database is dumped and the others are restored, so that they can be compared.
my $node = durable_node('dump', conf => "durable.poll_interval = 200\nmax_worker_processes = 40\ndurable.max_workers = 24\n");
my @roles = ('CREATE ROLE regress_dump LOGIN', 'CREATE ROLE "Regress Other" LOGIN');
$node->safe_psql('postgres', join(';', @roles));
$node->safe_psql('postgres', q(
SELECT durable.grant_usage('regress_dump'), durable.grant_usage('"Regress Other"');
CREATE TABLE done (instance_id text, step text, by name DEFAULT current_user);
GRANT ALL ON done TO PUBLIC;
CREATE FUNCTION note(step text) RETURNS text LANGUAGE sql AS
	$$ INSERT INTO public.done (instance_id, step) VALUES (durable.instance_id(), step) RETURNING step $$;
CREATE FUNCTION blocked(step text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pg_advisory_xact_lock_shared(4711);
	RETURN public.note(step);
END
$$;
CREATE FUNCTION retried(step text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	IF durable.attempt() = 1 THEN
		RAISE EXCEPTION 'not yet';
	END IF;
	RETURN public.note(step);
END
$$;
CREATE FUNCTION timer() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM durable.call_activity('note', '"before"');
	PERFORM durable.sleep('15 s');
	RETURN durable.call_activity('note', '"after"');
END
$$;
CREATE FUNCTION event() RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	PERFORM durable.call_activity('note', '"before"');
	RETURN durable.wait_for_external_event('go') || durable.wait_for_external_event('kept');
END
$$;
CREATE FUNCTION queued() RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	RETURN cardinality(durable.when_all(VARIADIC ARRAY(
		SELECT durable.schedule_activity('blocked', to_jsonb(n::text)) FROM generate_series(1, 5) n)));
END
$$;
CREATE FUNCTION retry() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	RETURN durable.call_activity('retried', '"retried"', durable.retry_policy(2, '15 s'));
END
$$;
CREATE FUNCTION parent() RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	RETURN durable.call_sub_orchestrator('event', instance_id => 'child of ' || durable.instance_id());
END
$$;
CREATE FUNCTION eternal(n int) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	IF n = 3 THEN
		RETURN durable.wait_for_external_event('go');
	END IF;
	PERFORM durable.continue_as_new(to_jsonb(n + 1));
END
$$;
CREATE FUNCTION whole(step text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	RETURN durable.call_activity('note', to_jsonb(step));
END
$$;
CREATE FUNCTION failing() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM durable.call_activity('note', '"before"');
	RETURN durable.call_activity('no_such_activity');
END
$$;
));

# Every kind twice, with an owner each; the ids say which.
my ($lock_input, $lock_output) = ("SELECT 'locked' FROM pg_advisory_lock(4711);\n", '');
my $lock = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres') ], '<', \$lock_input, '>', \$lock_output,
	IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
$lock->pump until $lock_output =~ /locked/;
foreach my $owner ('regress_dump', '"Regress Other"')
{
	my $suffix = $owner =~ /Other/ ? 'b' : 'a';
	$node->safe_psql('postgres', qq(
SET ROLE $owner;
SELECT durable.start_new('timer', instance_id => 'timer-$suffix', version => 'v7', tags => '{"k": "v"}');
SELECT durable.start_new('event', instance_id => 'event-$suffix');
SELECT durable.start_new('event', instance_id => 'suspended-$suffix');
SELECT durable.start_new('retry', instance_id => 'retry-$suffix');
SELECT durable.start_new('parent', instance_id => 'parent-$suffix');
SELECT durable.start_new('eternal', '1', 'eternal-$suffix');
SELECT durable.start_new('failing', instance_id => 'failed-$suffix');
SELECT durable.start_new('whole', '"whole"', 'finished-$suffix');
SELECT durable.start_new('event', instance_id => 'terminated-$suffix');
SELECT durable.start_new('event', instance_id => 'delayed-$suffix', start_at => now() + interval '15 s');
SELECT durable.start_new('event', instance_id => 'far-$suffix', start_at => '2999-01-01');
SELECT durable.raise_event('delayed-$suffix', 'kept', '"early"');
));
}
$node->poll_query_until('postgres', q(
SELECT count(*) = 2 * 5 FROM durable.history WHERE event_type = 'EventSubscribed')) or die "not all wait";
$node->safe_psql('postgres', qq(
SELECT durable.suspend('suspended-$_', 'for the night'), durable.raise_event('suspended-$_', 'go', '"while suspended"'),
	durable.terminate('terminated-$_', 'enough'), durable.raise_event('event-$_', 'Kept', '"of old"'))) foreach 'a', 'b';
$node->poll_query_until('postgres', q(
SELECT count(*) FILTER (WHERE runtime_status = 'Suspended') = 2 AND count(*) FILTER (WHERE runtime_status = 'Terminated') = 2
       AND count(*) FILTER (WHERE runtime_status = 'Failed') >= 2 AND count(*) FILTER (WHERE instance_id ~ '^finished' AND completed_time IS NOT NULL) = 2
       AND (SELECT count(*) FROM durable.history WHERE event_type = 'TaskRetried') = 2
       AND (SELECT count(*) FROM durable.history WHERE event_type = 'EventRaised') >= 2
  FROM durable.instances)) or die 'not all as it is to be';
# Last, as these activities keep workers busy.
$node->safe_psql('postgres', q(SET ROLE regress_dump; SELECT durable.start_new('queued', instance_id => 'queued-a')));
$node->safe_psql('postgres', q(SET ROLE "Regress Other"; SELECT durable.start_new('queued', instance_id => 'queued-b')));
$node->poll_query_until('postgres', q(SELECT count(*) = 10 FROM durable.activities WHERE name = 'blocked')) or die;

# What is to be the same after a restore; activities that were in a worker's hands are open in the dump.
my $stop = "durable.databases = 'none'";
$node->append_conf('postgresql.conf', $stop);
$node->restart;
$node->poll_query_until('postgres', q(SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name LIKE 'durable worker')) or die;
my $story = q(
SELECT string_agg(i::text, E'\n' ORDER BY instance_id COLLATE "C") FROM durable.instances i
UNION ALL
SELECT string_agg(h::text, E'\n' ORDER BY instance_id COLLATE "C", sequence_number) FROM durable.history h);
my $before = $node->safe_psql('postgres', $story);
my $ended = q(
SELECT string_agg(i::text || h::text, E'\n' ORDER BY i.instance_id COLLATE "C", h.sequence_number)
  FROM durable.instances i JOIN durable.history h USING (instance_id)
 WHERE i.instance_id ~ '^(finished|failed|terminated)');
my $ended_before = $node->safe_psql('postgres', $ended);
is($node->safe_psql('postgres', q(SELECT count(*) FROM durable_internal.tasks)), '10', 'activities are queued');

my $dir = PostgreSQL::Test::Utils::tempdir;
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$dir/custom", '-d', $node->connstr('postgres') ], 'dump, custom format');
$node->command_ok([ 'pg_dump', '-f', "$dir/plain", '-d', $node->connstr('postgres') ], 'dump, plain format');

# Lets the instances of a restored database come to their ends and looks at how they did.
sub goes_on
{
	my ($where, $database, $name) = @_;

	$where->append_conf('postgresql.conf', "durable.databases = ''");
	$where->reload;
	$where->safe_psql($database, qq(
SELECT durable.raise_event(id || '-$_', 'go', '"go"') FROM unnest('{event,eternal,delayed,child of parent}'::text[]) id;
SELECT durable.raise_event(id || '-$_', 'kept', '"kept"') FROM unnest('{child of parent,suspended}'::text[]) id;
SELECT durable.resume('suspended-$_'))) foreach 'a', 'b';
	poll_until($where, q(
SELECT string_agg(format('%s %s %s', instance_id, runtime_status, output #>> '{}'), E'\n' ORDER BY instance_id COLLATE "C")
  FROM durable.instances),
		"$name: live instances go on",
		join("\n", map { my $line = $_; ("$line->[0]-a $line->[1]", "$line->[0]-b $line->[1]") }
			  (['child of parent', 'Completed ["go", "kept"]'],
			   ['delayed', 'Completed ["go", "early"]'],
			   ['eternal', 'Completed go'],
			   ['event', 'Completed ["go", "of old"]'],
			   ['failed', 'Failed function "no_such_activity" does not exist'],
			   ['far', 'Pending '],
			   ['finished', 'Completed "whole"'],
			   ['parent', 'Completed ["go", "kept"]'],
			   ['queued', 'Completed 5'],
			   ['retry', 'Completed "retried"'],
			   ['suspended', 'Completed ["while suspended", "kept"]'],
			   ['terminated', 'Terminated enough'],
			   ['timer', 'Completed "after"'])),
		$database);
	# all that was done before the dump is there once
	is($where->safe_psql($database, q(
SELECT string_agg(DISTINCT n::text, ',') FROM (SELECT count(*) AS n FROM done GROUP BY instance_id, step) d)), '1',
		"$name: no activity ran twice");
	is($where->safe_psql($database, q(
SELECT count(*) FROM done d JOIN durable.instances i USING (instance_id)
 WHERE d.by <> CASE right(instance_id, 1) WHEN 'a' THEN 'regress_dump' ELSE 'Regress Other' END
    OR i.owner <> quote_ident(d.by)::regrole)), '0', "$name: under the same owners");
	is($where->safe_psql($database, $ended), $ended_before, "$name: the ended ones are as they were");
	is($where->safe_psql($database, 'SELECT count(*) FROM durable_internal.violations'), '0', "$name: no invariant is broken");
	$where->safe_psql($database, q(
SET ROLE regress_dump;
CREATE TEMP TABLE new AS SELECT durable.start_new('whole', '"new"') AS id FROM generate_series(1, 100)));
	poll_until($where, q(SELECT count(*) = 100 FROM durable.instances WHERE runtime_status = 'Completed' AND input = '"new"'),
		"$name: new instances start", 't', $database);
	is($where->safe_psql($database, q(
SELECT count(*) - count(DISTINCT key) FROM durable_internal.instances)), '0', "$name: with keys of their own");
	$where->safe_psql($database, q(SELECT durable.rewind('failed-a')));
	poll_until($where, q(SELECT count(*) = 1 FROM durable.history WHERE instance_id = 'failed-a' AND event_type = 'ExecutionRewound'),
		"$name: a failed one can be rewound", 't', $database);
}

$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'pg_restore', '-e', '-d', $node->connstr('restored'), "$dir/custom" ], 'restore into another database');
is($node->safe_psql('restored', $story), $before, 'nothing is lost or changed');
is($node->safe_psql('postgres', $story), $before, 'nor in the old one');

my $new = durable_node('dump_new', conf => "durable.poll_interval = 200\n$stop\n", extension => 0);
$new->safe_psql('postgres', join(';', @roles));
$new->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', "$dir/plain", '-d', $new->connstr('postgres') ],
	'restore into a new cluster');
is($new->safe_psql('postgres', $story), $before, 'nothing is lost or changed');

goes_on($new, 'postgres', 'new cluster');
goes_on($node, 'restored', 'other database');

# While the engine runs. In one transaction, as otherwise it would run the instances before the rest, such as
# privileges, is restored.
$node->safe_psql('postgres', 'CREATE DATABASE live');
$node->command_ok([ 'pg_restore', '-e', '-1', '-d', $node->connstr('live'), "$dir/custom" ], 'restore while the engine runs');
goes_on($node, 'live', 'restored under the engine');

done_testing();
