# Events under stress: none is lost or applied twice, whoever raises them and whatever the instance does meanwhile; and
# continue_as_new over many generations, in bounded history and memory.  DURABLE_GENERATIONS sets their number.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use DurableTest;

my $node = durable_node('events');
my $generations = $ENV{DURABLE_GENERATIONS} // 3000;

$node->safe_psql('postgres', q[
CREATE FUNCTION echo(x jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT x';
-- takes n events in one execution
CREATE FUNCTION collect(n int) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	got jsonb[] := '{}';
BEGIN
	FOR i IN 1 .. n LOOP
		got := got || durable.wait_for_external_event('e');
	END LOOP;
	RETURN to_jsonb(got);
END $$;
-- takes ten an execution, now and then after a timeout or an activity, and hands on what it got
CREATE FUNCTION aggregate(n int, got jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	event jsonb;
BEGIN
	FOR i IN 1 .. 10 LOOP
		event := durable.wait_for_external_event('e', '5 ms', 'null');
		IF event <> 'null' THEN
			got := got || event;
		ELSIF i % 2 = 0 THEN
			PERFORM durable.call_activity('echo', '1');
		END IF;
		IF jsonb_array_length(got) = n THEN
			RETURN got;
		END IF;
	END LOOP;
	PERFORM durable.continue_as_new(jsonb_build_object('n', n, 'got', got));
	RETURN NULL;
END $$;
CREATE FUNCTION count_down(n int) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	IF n % 10 = 0 THEN
		PERFORM durable.call_activity('echo', to_jsonb(repeat('x', 1000)));
	END IF;
	IF n > 0 THEN
		PERFORM durable.continue_as_new(to_jsonb(n - 1));
	END IF;
	RETURN durable.execution_id();
END $$;
]);

# Whether the instance has got each of the events 1..n once.
sub got_all
{
	my ($id, $n) = @_;
	return qq[SELECT count(*) = $n AND count(DISTINCT e) = $n AND min(e::int) = 1 AND max(e::int) = $n
		FROM durable.get_status('$id') s, jsonb_array_elements(s.output) e];
}

# From 8 sessions at once, each in transactions of its own, while suspended and resumed, to three instances.
my $script = $node->basedir . '/raise.sql';
append_to_file($script, q[
SELECT nextval('number') AS n \gset
BEGIN;
SELECT durable.raise_event(id, 'E', to_jsonb(:n)) FROM unnest('{collect,aggregate,suspended}'::text[]) id;
COMMIT;
]);
$node->safe_psql('postgres', q[
CREATE SEQUENCE number;
SELECT durable.start_new('collect', '1000', 'collect'), durable.start_new('collect', '1000', 'suspended'),
       durable.start_new('aggregate', '{"n": 1000, "got": []}', 'aggregate');
]);
my $raising = IPC::Run::start([ $node->installed_command('pgbench'), '-n', '-c', 8, '-j', 2, '-t', 125, '-f', $script,
		'-h', $node->host, '-p', $node->port, 'postgres' ], '>', \my $out, '2>', \my $err);
for (1 .. 5)
{
	# it may have ended by now
	$node->psql('postgres', q[SELECT durable.suspend('suspended')]);
	poll_until($node, q[SELECT (durable.get_status('suspended')).runtime_status IN ('Suspended', 'Completed')], 'suspended');
	$node->psql('postgres', q[SELECT durable.resume('suspended')]);
}
ok($raising->finish, 'events are raised from 8 sessions') or diag($err);
for my $id ('collect', 'aggregate', 'suspended')
{
	poll_until($node, qq[SELECT (durable.get_status('$id')).runtime_status = 'Completed'], "$id has got its events");
	is($node->safe_psql('postgres', got_all($id, 1000)), 't', "$id: none lost, none twice");
}

# One statement; in order; and kept over a crash.
$node->safe_psql('postgres', q[
SELECT durable.start_new('collect', '1000', 'statement'), durable.start_new('aggregate', '{"n": 1000, "got": []}', 'crash');
SELECT count(durable.raise_event(id, 'e', to_jsonb(i))) FROM generate_series(1, 1000) i, unnest('{statement,crash}'::text[]) id;
]);
$node->stop('immediate');
$node->start;
for my $id ('statement', 'crash')
{
	poll_until($node, qq[SELECT (durable.get_status('$id')).runtime_status = 'Completed'], "$id: 1,000 in one statement, over a crash");
	is($node->safe_psql('postgres', qq[SELECT output = (SELECT to_jsonb(array_agg(i)) FROM generate_series(1, 1000) i) FROM durable.get_status('$id')]),
		't', 'in order');
}

# Many generations.
sub worker_memory
{
	my $most = 0;

	for my $pid (split /\n/, $node->safe_psql('postgres', q[SELECT pid FROM durable.workers WHERE pid IS NOT NULL]))
	{
		my $status = -e "/proc/$pid/status" ? slurp_file("/proc/$pid/status") : '';
		my ($anon) = $status =~ /^RssAnon:\s+(\d+) kB/m;
		$most = $anon if defined $anon && $anon > $most;
	}
	return $most;
}

$node->safe_psql('postgres', q[SELECT durable.start_new('count_down', '500', 'warm-up')]);
poll_until($node, q[SELECT (durable.get_status('warm-up')).runtime_status = 'Completed'], '500 generations');
my $before = worker_memory();
my $first = $node->safe_psql('postgres', qq[SELECT durable.start_new('count_down', '$generations', 'generations')]);
$first = $node->safe_psql('postgres', q[SELECT execution_id FROM durable.instances WHERE instance_id = 'generations']);
ok($node->poll_query_until('postgres', q[SELECT (durable.get_status('generations')).runtime_status = 'Completed']), "$generations generations")
	or diag($node->safe_psql('postgres', q[SELECT * FROM durable.history WHERE instance_id = 'generations']));
my $after = worker_memory();
cmp_ok($after, '<', $before + 16 * 1024, "memory is flat ($before kB, then $after kB)");
is($node->safe_psql('postgres', qq[SELECT count(*) < 20 AND bool_and(execution_id <> '$first') FROM durable.history WHERE instance_id = 'generations']),
	't', 'history is that of the last execution');
is($node->safe_psql('postgres', q[SELECT output = to_jsonb(execution_id::text) FROM durable.get_status('generations')]), 't', 'which has an id of its own');
is($node->safe_psql('postgres', 'SELECT count(*) FROM durable_internal.violations'), 0, 'no invariant is broken');

done_testing();
