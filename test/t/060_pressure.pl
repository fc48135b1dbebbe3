# Nothing left: no connections, no memory; and each process of the engine cancelled and terminated over and over.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use DurableTest;

my $node = durable_node('pressure', conf => "max_connections = 12\nsuperuser_reserved_connections = 3\nmax_wal_senders = 0\ndurable.max_activity_deliveries = 1000");
$node->safe_psql('postgres', q[
CREATE ROLE one LOGIN;
SELECT durable.grant_usage('one');
CREATE TABLE effects (instance_id text, task_id int, PRIMARY KEY (instance_id, task_id));
GRANT ALL ON effects TO one;
CREATE FUNCTION effect() RETURNS void LANGUAGE sql AS 'INSERT INTO effects VALUES (durable.instance_id(), durable.task_id())';
CREATE FUNCTION chain() RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. 5 LOOP
		PERFORM durable.call_activity('effect');
		PERFORM durable.when_all(durable.schedule_activity('effect'), durable.create_timer('10 ms'::interval));
	END LOOP;
	RETURN 10;
END $$;
-- more than there is, and more than a value can hold
CREATE FUNCTION too_much() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	texts text[];
BEGIN
	PERFORM effect();
	FOR i IN 1 .. 100 LOOP
		texts[i] := repeat('x', 100000000);
	END LOOP;
	RETURN cardinality(texts);
END $$;
CREATE FUNCTION too_long() RETURNS text LANGUAGE sql AS $$ SELECT repeat('x', 300000000) $$;
CREATE FUNCTION too_deep(n int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN too_deep(n + 1); END $$;
CREATE FUNCTION call(name text) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RETURN durable.call_activity(name, CASE name WHEN 'too_deep' THEN '1'::jsonb END); END $$;
CREATE FUNCTION too_much_itself() RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
	PERFORM durable.call_activity('effect');
	RETURN octet_length(string_agg(repeat('x', 100000000), '')) FROM generate_series(1, 20);
END $$;
]);
my $effects_right = q[SELECT count(*) FROM durable.instances i WHERE name = 'chain' AND (SELECT count(*) FROM effects e WHERE e.instance_id = i.instance_id) <> 10];

#
# Each connection is taken: the engine needs none of them.
#
$node->safe_psql('postgres', q[SET ROLE one; SELECT durable.start_new('chain', start_at => now() + '2 s') FROM generate_series(1, 20)]);
# more than fit, as a session that has just ended may still hold its place
my @sessions = map { IPC::Run::start([ 'psql', '-XAtq', '-c', 'SELECT pg_sleep(600)', $node->connstr('postgres') . ' user=one' ], '<', \undef, '>', \my $out, '2>', \my $err) } 1 .. 15;
poll_until($node, q[SELECT count(*) FROM pg_stat_activity WHERE usename = 'one' AND backend_type = 'client backend'], 'all connections are taken', 9);
my ($rc, $out, $err) = $node->psql('postgres', 'SELECT 1', extra_params => [ '-U', 'one' ]);
like($err, qr/remaining connection slots are reserved|too many clients/, 'there is none for another');
poll_until($node, q[SELECT count(*) FROM durable.instances WHERE runtime_status = 'Completed'], 'instances start and complete meanwhile', 20);
$node->safe_psql('postgres', q[SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'one' AND backend_type = 'client backend']);
$_->finish for @sessions;

#
# Memory: the processes that the server starts from now on may have 700 MB of addresses.
#
SKIP:
{
	my $pid = (split /\n/, slurp_file($node->data_dir . '/postmaster.pid'))[0];

	skip 'no prlimit', 8 if system("prlimit --pid $pid --as=700000000:unlimited >/dev/null 2>&1") != 0;
	$node->safe_psql('postgres', q[SELECT pg_terminate_backend(pid, 60000) FROM durable.workers WHERE pid IS NOT NULL]);
	$node->safe_psql('postgres', q[SET ROLE one; SELECT durable.start_new('chain') FROM generate_series(1, 50)]);
	$node->safe_psql('postgres', qq[SET ROLE one; SELECT durable.start_new('call', '{"name": "$_"}', '$_')]) for qw(too_much too_long too_deep);
	$node->safe_psql('postgres', q[SET ROLE one; SELECT durable.start_new('too_much_itself', instance_id => 'itself')]);
	my %state = (too_much => '53200', too_long => '5[34][02]00', too_deep => '54001', itself => '5[34][02]00');
	for my $id (sort keys %state)
	{
		poll_until($node, "SELECT (failure->>'sqlstate') ~ '^$state{$id}\$' FROM durable.get_status('$id')", "$id: the instance fails")
		  or diag($node->safe_psql('postgres', "SELECT runtime_status, left(failure::text, 500) FROM durable.get_status('$id')"));
	}
	poll_until($node, q[SELECT count(*) FROM durable.instances WHERE name = 'chain' AND runtime_status = 'Completed'], 'the others complete', 70);
	is($node->safe_psql('postgres', q[SELECT count(*) FROM effects WHERE instance_id = 'too_much']), 0, 'what failed has left nothing');
	is($node->safe_psql('postgres', $effects_right), 0, 'each other effect is there once');
	unlike(slurp_file($node->logfile), qr/PANIC:|TRAP:|was terminated by signal/, 'nothing has crashed');
	system_or_bail('prlimit', '--pid', $pid, '--as=unlimited:unlimited');
	$node->safe_psql('postgres', q[SELECT pg_terminate_backend(pid, 60000) FROM durable.workers WHERE pid IS NOT NULL]);
}

#
# Signals to the engine's processes at any time, under load.
#
$node->safe_psql('postgres', q[SET ROLE one; SELECT durable.start_new('chain') FROM generate_series(1, 400)]);
for my $i (1 .. 60)
{
	my ($kind, $function) = ((qw(worker scheduler launcher))[ $i % 3 ], $i % 2 ? 'pg_terminate_backend' : 'pg_cancel_backend');
	# to cancel an activity is to fail it, so workers are only terminated
	$function = 'pg_terminate_backend' if $kind eq 'worker';
	$node->safe_psql('postgres', "SELECT $function(pid) FROM pg_stat_activity WHERE backend_type = 'durable $kind'");
}
poll_until($node, q[SELECT count(*) = 0 FROM durable.instances WHERE runtime_status IN ('Pending', 'Running')], 'all end after 60 signals');
is($node->safe_psql('postgres', q[SELECT count(*) FROM durable.instances WHERE name = 'chain' AND runtime_status <> 'Completed']), 0, 'and complete');
is($node->safe_psql('postgres', $effects_right), 0, 'each effect once');
is($node->safe_psql('postgres', 'SELECT count(*) FROM durable_internal.violations'), 0, 'no invariant is broken');
$node->stop;
unlike(slurp_file($node->logfile), qr/PANIC:|TRAP:|was terminated by signal|XX000/, 'nothing has crashed');
done_testing();
