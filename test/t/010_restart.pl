# Nothing is lost and nothing is done twice: instances of every kind of wait, and ones in the middle of their activities,
# live through a fast and an immediate restart and through kill -9 of workers, the scheduler and the postmaster.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use DurableTest;

# What is killed while it runs an activity counts as a delivery; here that is nobody's fault.
my $node = durable_node('restart', conf => "durable.max_activity_deliveries = 100\ndurable.max_workers = 3");

$node->safe_psql(
	'postgres', q(
	CREATE TABLE effect (instance_id text, task_id int, n int, UNIQUE (instance_id, task_id));
	CREATE FUNCTION act(n int) RETURNS int LANGUAGE sql AS
		'INSERT INTO effect VALUES (durable.instance_id(), durable.task_id(), n) RETURNING n';
	-- Long enough that the server often goes down in the middle of one.
	CREATE FUNCTION act_slowly(n int) RETURNS int LANGUAGE sql AS
		'INSERT INTO effect VALUES (durable.instance_id(), durable.task_id(), n); SELECT pg_sleep(0.02); SELECT n';
	CREATE FUNCTION many(steps int, activity text) RETURNS bigint LANGUAGE plpgsql AS $$
	DECLARE
		total bigint := 0;
	BEGIN
		FOR i IN 1 .. steps LOOP
			total := total + durable.call_activity(activity, to_jsonb(i))::bigint;
		END LOOP;
		RETURN total;
	END
	$$;
	CREATE FUNCTION fan(steps int) RETURNS bigint LANGUAGE sql AS $$
		SELECT sum(r::bigint)
		  FROM unnest(durable.when_all(VARIADIC ARRAY(SELECT durable.schedule_activity('act_slowly', to_jsonb(i))
		                                                FROM generate_series(1, steps) i))) r
	$$;
	CREATE FUNCTION timers(steps int) RETURNS bigint LANGUAGE plpgsql AS $$
	BEGIN
		FOR i IN 1 .. steps LOOP
			PERFORM durable.sleep('100 ms');
			PERFORM durable.call_activity('act', to_jsonb(i));
		END LOOP;
		RETURN steps;
	END
	$$;
	CREATE FUNCTION events(steps int) RETURNS bigint LANGUAGE plpgsql AS $$
	DECLARE
		total bigint := 0;
	BEGIN
		FOR i IN 1 .. steps LOOP
			total := total + durable.wait_for_external_event('e')::bigint;
			PERFORM durable.call_activity('act', to_jsonb(i));
		END LOOP;
		RETURN total;
	END
	$$;
	CREATE FUNCTION parent(steps int) RETURNS bigint LANGUAGE plpgsql AS $$
	DECLARE
		total bigint := 0;
	BEGIN
		FOR i IN 1 .. steps LOOP
			total := total + durable.call_sub_orchestrator('many', jsonb_build_object('steps', i, 'activity', 'act'))::bigint;
		END LOOP;
		RETURN total;
	END
	$$;));

# Starts one set of instances, whose ids begin with the name.
sub start_set
{
	my ($set) = @_;
	$node->safe_psql(
		'postgres', qq(
		SELECT durable.start_new('many', '{"steps": 20, "activity": "act"}', instance_id => '$set-many-' || i),
		       durable.start_new('many', '{"steps": 10, "activity": "act_slowly"}', instance_id => '$set-slow-' || i),
		       durable.start_new('timers', '5', instance_id => '$set-timers-' || i),
		       durable.start_new('events', '3', instance_id => '$set-events-' || i),
		       durable.start_new('parent', '4', instance_id => '$set-parent-' || i),
		       durable.start_new('timers', '1', instance_id => '$set-later-' || i, start_at => now() + '1 s')
		  FROM generate_series(1, 5) i;
		SELECT durable.start_new('fan', '40', instance_id => '$set-fan')));
	# Two of the three events that each waits for.
	$node->safe_psql(
		'postgres', qq(
		SELECT durable.raise_event('$set-events-' || i, 'e', '7'), durable.raise_event('$set-events-' || i, 'E', '8')
		  FROM generate_series(1, 5) i));
	# Everything is under way, and not much is done.
	poll_until($node, qq(SELECT count(*) >= 20 FROM effect WHERE instance_id ~ '^\@?$set-'), "$set: activities run");
}

# Asserts that the set completes with the right results, each effect exactly once.
sub finish_set
{
	my ($set, $how) = @_;
	$node->safe_psql('postgres', qq(SELECT durable.raise_event('$set-events-' || i, 'e', '9') FROM generate_series(1, 5) i));
	poll_until($node, qq(SELECT count(*) = 31 FROM durable.instances WHERE instance_id LIKE '$set-%' AND runtime_status = 'Completed' AND parent_instance_id IS NULL), "$how: all completed")
		or diag($node->safe_psql('postgres', qq(SELECT instance_id, runtime_status, failure FROM durable.instances WHERE runtime_status <> 'Completed')));
	is( $node->safe_psql(
			'postgres', qq(
			SELECT regexp_replace(instance_id, '^$set-(\\w+).*', '\\1') AS kind, count(*), min(output::bigint), max(output::bigint)
			  FROM durable.instances WHERE instance_id LIKE '$set-%' AND parent_instance_id IS NULL GROUP BY 1 ORDER BY 1)),
		"events|5|24|24\nfan|1|820|820\nlater|5|1|1\nmany|5|210|210\nparent|5|20|20\nslow|5|55|55\ntimers|5|5|5",
		"$how: the results are right");
	# The effects of each activity that completed, and no other.
	is( $node->safe_psql(
			'postgres', q(
			SELECT count(*) FILTER (WHERE e.n IS NULL), count(*) FILTER (WHERE h.task_id IS NULL), count(*) > 0
			  FROM (SELECT instance_id, task_id, result::int FROM durable.history WHERE event_type = 'TaskCompleted') h
			  FULL JOIN effect e ON e.instance_id = h.instance_id AND e.task_id = h.task_id AND e.n = h.result)),
		'0|0|t', "$how: each completed activity has had its effect once");
	is($node->safe_psql('postgres', 'SELECT * FROM durable_internal.violations'), '', "$how: no violations");
}

# Waits for the server that crashed to come back by itself.
sub await_recovery
{
	my ($before, $how) = @_;
	poll_until($node, "SELECT pg_postmaster_start_time() IS NOT NULL AND EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'durable scheduler' AND backend_start > '$before')", "$how: the engine is back");
}

start_set('fast');
$node->stop('fast');
$node->start;
finish_set('fast', 'fast restart');

start_set('immediate');
$node->stop('immediate');
$node->start;
finish_set('immediate', 'immediate restart');

# A process of the engine vanishes: the postmaster restarts every other one.
foreach my $type ('worker', 'scheduler', 'launcher')
{
	start_set($type);
	my ($pid, $now) = split /\|/, $node->safe_psql('postgres',
		"SELECT pid, clock_timestamp() FROM pg_stat_activity WHERE backend_type = 'durable $type' AND datname IS NOT DISTINCT FROM "
		. ($type eq 'launcher' ? 'NULL' : "'postgres'") . " ORDER BY state = 'idle' LIMIT 1");
	ok($pid, "there is a $type");
	kill 'KILL', $pid;
	await_recovery($now, "kill -9 of a $type");
	finish_set($type, "kill -9 of a $type");
}

# A worker ends in order, by an administrator's hand: the server goes on, and so does the work.
start_set('terminated');
$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'durable worker'");
finish_set('terminated', 'pg_terminate_backend of the workers');

# The postmaster vanishes; its children notice and leave.
start_set('postmaster');
my ($postmaster) = split /\n/, slurp_file($node->data_dir . '/postmaster.pid');
$node->kill9;
await_death($postmaster);
$node->start;
finish_set('postmaster', 'kill -9 of the postmaster');

$node->stop;
my $log = slurp_file($node->logfile);
unlike($log, qr/PANIC|TRAP:/, 'no panic and no failed assertion');
done_testing();

# Waits until the last process of the dead server has gone, and the dead one itself.
sub await_death
{
	my ($postmaster) = @_;
	my $data = $node->data_dir;
	foreach (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		return pass('the processes of the dead server leave')
		  unless kill(0, $postmaster) || grep { (readlink($_) // '') eq $data } glob('/proc/[0-9]*/cwd');
		select(undef, undef, undef, 0.1);
	}
	return fail('the processes of the dead server leave');
}
