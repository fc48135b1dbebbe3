# What the engine has no room for at first comes without polling as soon as there is: a second worker of a role while another
# database has the rest, and more instances than the lists of ready ones hold.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use DurableTest;

my $node = durable_node('refused', conf => "durable.poll_interval = 1h\ndurable.max_workers = 4\ndurable.worker_idle_timeout = 1h");

# Three workers in one database, of which two are busy and one is left to quick work, and a busy one in the other.
$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql('other', 'CREATE EXTENSION durable');
my $functions = q[
CREATE FUNCTION blocks() RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock_shared(1); END $$;
CREATE FUNCTION blocked() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM durable.call_activity('blocks'); RETURN 1; END $$;
CREATE FUNCTION free() RETURNS int LANGUAGE sql AS 'SELECT 2';];
my %holders;
foreach my $database ('other', 'postgres')
{
	my $count = $database eq 'other' ? 2 : 1;

	$node->safe_psql($database, $functions);
	$holders{$database} = $node->background_psql($database);
	$holders{$database}->query_safe('SELECT pg_advisory_lock(1)');
	$node->safe_psql($database, "SELECT durable.start_new('blocked') FROM generate_series(1, $count)");
	poll_until($node, qq[SELECT count(*) = $count FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())],
		"activities in database $database take their time", 't', $database);
	next if $count == 1;
	$node->safe_psql($database, q[SELECT durable.start_new('free', instance_id => 'quick')]);
	is($node->safe_psql($database, q[SELECT output FROM durable.wait_for_completion('quick', '1 min')]), '2',
		"the role's other work is served");
}
is($node->safe_psql('postgres', q[SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'durable worker']), 4, 'all workers are there');
$node->safe_psql('postgres', q[SELECT durable.start_new('free', instance_id => 'free')]);
# its scheduler has been refused a worker when it has gone to sleep
poll_until($node, q[SELECT s.state = 'idle' AND s.state_change < clock_timestamp() - interval '200 ms' AND q.waiting_since < s.state_change
	FROM pg_stat_activity s, durable_internal.queues() q WHERE s.backend_type = 'durable scheduler' AND s.datname = 'postgres' AND q.instances = 1],
	'another instance waits for a worker');
$holders{other}->query_safe('SELECT pg_advisory_unlock(1)');
is($node->safe_psql('postgres', q[SELECT output FROM durable.wait_for_completion('free', '1 min')]), '2',
	'it gets one when the workers of the other database have nothing to do');
$holders{postgres}->query_safe('SELECT pg_advisory_unlock(1)');
$_->quit foreach values %holders;

$node->safe_psql('postgres', q[SELECT count(durable.start_new('free')) FROM generate_series(1, 70000)]);
poll_until($node, q[SELECT NOT EXISTS (SELECT FROM durable_internal.instances WHERE state IN ('R', 'W'))], 'more instances than the lists hold');
is($node->safe_psql('postgres', q[SELECT count(*) FROM durable.instances WHERE runtime_status = 'Completed']), 70002, 'complete');
is($node->safe_psql('postgres', 'SELECT count(*) FROM durable_internal.violations'), 0, 'no invariant is broken');
$node->stop;
done_testing();
