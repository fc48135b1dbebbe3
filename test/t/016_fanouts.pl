# Fan-outs that the instance's own worker runs, as they are short: what they share, what fails or kills the worker among
# them, what a rewind does again. And activities that take long are not in the way of those that do not.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use DurableTest;

# With so long a time for a batch everything that has been called once counts as quick, also on a slow machine.
my $node = durable_node('fanouts', conf => q(
durable.max_activity_deliveries = 3
durable.batch_time = 10s
durable.max_workers = 3
));
my ($rc, $out, $err) = $node->psql('postgres', 'CREATE EXTENSION plpython3u');
plan skip_all => "no plpython3u: $err" if $rc != 0;

$node->safe_psql(
	'postgres', q(
	CREATE TABLE effects (instance_id text, task_id int, n int, xact xid8 DEFAULT pg_current_xact_id(), UNIQUE (instance_id, task_id));
	CREATE TABLE broken (n int);
	-- what leaves the server runs alone
	CREATE FUNCTION die() RETURNS void LANGUAGE plpython3u AS $$
		import os
		os.kill(os.getpid(), 9)
	$$;
	CREATE FUNCTION effect(n int, way text) RETURNS int LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO effects VALUES (durable.instance_id(), durable.task_id(), n);
		IF EXISTS (SELECT FROM broken b WHERE b.n = effect.n) THEN
			RAISE EXCEPTION 'broken' USING ERRCODE = 'XYZ01';
		END IF;
		IF way = 'killed' THEN
			PERFORM die();
		ELSIF way = 'terminated' THEN
			PERFORM pg_terminate_backend(pg_backend_pid()), pg_sleep(60);
		END IF;
		RETURN n;
	END
	$$;
	CREATE FUNCTION fan(count int, way text DEFAULT '', at int DEFAULT 0) RETURNS int LANGUAGE plpgsql AS $$
	DECLARE
		results jsonb[];
	BEGIN
		results := durable.when_all(VARIADIC ARRAY(
			SELECT durable.schedule_activity('effect', jsonb_build_object('n', i, 'way', CASE WHEN i = at THEN way ELSE '' END))
			  FROM generate_series(1, count) i ORDER BY i));
		RETURN (SELECT sum(r::int) FROM unnest(results) r);
	END
	$$;
	-- one with a timeout goes through the queue
	CREATE FUNCTION wide(count int) RETURNS int LANGUAGE plpgsql AS $$
	BEGIN
		RETURN cardinality(durable.when_all(VARIADIC ARRAY(
			SELECT durable.schedule_activity('effect', jsonb_build_object('n', i, 'way', ''), timeout => '1 h') FROM generate_series(1, count) i ORDER BY i)));
	END
	$$;
	CREATE FUNCTION hello() RETURNS int LANGUAGE plpgsql AS $$
	BEGIN
		RETURN durable.call_activity('effect', '{"n": 0, "way": ""}')::int + durable.call_activity('effect', '{"n": 0, "way": ""}')::int;
	END
	$$;
	CREATE FUNCTION blocked() RETURNS void LANGUAGE sql AS 'SELECT pg_advisory_xact_lock(1)';
	CREATE FUNCTION long() RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM durable.call_activity('blocked'); END $$;));

# Runs one to its end and returns its id.
sub run_fan
{
	my ($id, $input) = @_;
	# the activity may have killed the server before this ends
	$node->psql('postgres', "SELECT durable.start_new('fan', '$input', instance_id => '$id')");
	poll_until($node, "SELECT runtime_status IN ('Completed', 'Failed') FROM durable.get_status('$id')", "$id ends");
	return $id;
}

sub status
{
	my ($id) = @_;
	return $node->safe_psql('postgres', "SELECT runtime_status, coalesce(output #>> '{}', '') || coalesce(' ' || (failure ->> 'sqlstate'), '') FROM durable.get_status('$id')");
}

sub effects
{
	my ($id, $what) = @_;
	return $node->safe_psql('postgres', "SELECT $what FROM effects WHERE instance_id = '$id'");
}

# The first one teaches the workers that the function is quick.
run_fan('first', '[3]');
is(status('first'), 'Completed|6', 'a fan-out of a function that nobody knows completes');
run_fan('ten', '[10]');
is(status('ten'), 'Completed|55', 'a small fan-out completes');
is(effects('ten', 'count(DISTINCT xact), count(*)'), '1|10', 'its activities share a transaction');
is($node->safe_psql('postgres', q(SELECT string_agg(event_type || coalesce(task_id::text, ''), ' ' ORDER BY sequence_number) FROM durable.history WHERE instance_id = 'ten')),
	'ExecutionStarted ' . join(' ', map { "TaskScheduled$_ TaskCompleted$_" } 1 .. 10) . ' ExecutionCompleted', 'its history tells all');
run_fan('forty', '[40]');
is(status('forty'), 'Completed|820', 'so does a larger one');
is(effects('forty', 'count(DISTINCT xact), count(*)'), '3|40', 'of which no more are repeated after a crash than of a queue');

# Failures.
$node->safe_psql('postgres', 'INSERT INTO broken VALUES (4), (8)');
run_fan('failing', '[10]');
is(status('failing'), 'Failed|broken XYZ01', 'one that fails fails the orchestrator');
is($node->safe_psql('postgres', q(SELECT failure ->> 'task_id' FROM durable.get_status('failing'))), '4', 'with the first failure');
is(effects('failing', 'count(*)'), '8', 'the others have been run');
$node->safe_psql('postgres', q(DELETE FROM broken; SELECT durable.rewind('failing')));
poll_until($node, q(SELECT runtime_status = 'Completed' AND output = '55' FROM durable.get_status('failing')), 'a rewind does the rest');
is(effects('failing', 'count(*), count(DISTINCT n)'), '10|10', 'and nothing twice');

# Activities that kill their worker.
foreach my $way ('killed', 'terminated')
{
	run_fan("again-$way", '[3]');
	run_fan($way, qq([10, "$way", 7]));
	is($node->safe_psql('postgres', qq(SELECT runtime_status, failure ->> 'sqlstate', failure ->> 'task_id' FROM durable.get_status('$way'))),
		'Failed|OD007|7', "$way: the activity is lost, and no other");
	is(effects($way, "string_agg(n::text, ' ' ORDER BY n)"), '1 2 3 4 5 6 8 9 10', "$way: the others have been run, once each");
}
is(scalar(() = slurp_file($node->logfile) =~ /was terminated by signal 9/g), 3, 'the server went down no more often than it had to');

# Activities that take long.
run_fan('known', '[3]');
$node->safe_psql('postgres', q(SELECT durable.start_new('hello', instance_id => 'hello-known')));
poll_until($node, q(SELECT runtime_status = 'Completed' FROM durable.get_status('hello-known')), 'a chain of quick activities completes');
my $lock = $node->background_psql('postgres');
$lock->query_safe('SELECT pg_advisory_lock(1)');
$node->safe_psql('postgres', q(SELECT durable.start_new('long', instance_id => 'long-' || i) FROM generate_series(1, 5) i));
my $waiting = q(SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted);
poll_until($node, $waiting, 'activities are stuck', '5');
foreach my $i (1 .. 5)
{
	$node->safe_psql('postgres', qq(SELECT durable.start_new('hello', instance_id => 'hello-$i')));
	is($node->safe_psql('postgres', qq(SELECT runtime_status FROM durable.wait_for_completion('hello-$i', '3 min'))), 'Completed', "$i: quick ones go on");
	is($node->safe_psql('postgres', $waiting), '5', "$i: the others are stuck");
}
$node->safe_psql('postgres', q(SELECT durable.start_new('wide', '200', instance_id => 'wide')));
is($node->safe_psql('postgres', q(SELECT runtime_status, output FROM durable.wait_for_completion('wide', '3 min'))), 'Completed|200',
	'quick activities in the queue are not held up either');
is($node->safe_psql('postgres', $waiting), '5', 'while the others are stuck');
$lock->query_safe('SELECT pg_advisory_unlock(1)');
poll_until($node, q(SELECT count(*) = 5 FROM durable.query_instances('{Completed}', name => 'long')), 'all of the long ones end');
$lock->quit;

is($node->safe_psql('postgres', 'SELECT * FROM durable_internal.violations'), '', 'no violations');
$node->stop;
done_testing();
