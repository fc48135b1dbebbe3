# What the engine has no room for at first comes without polling as soon as there is: a long place that another
# database had, and more instances than the lists of ready ones hold.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use DurableTest;

my $node = durable_node('refused', conf => "durable.poll_interval = 1h\ndurable.max_workers = 4\ndurable.max_long_activities = 3\ndurable.worker_idle_timeout = 1h");

# Each of two databases has one of three long places; the last one is for a role that has none.
$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql('other', 'CREATE EXTENSION durable');
my $functions = q[
CREATE FUNCTION blocks() RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock_shared(1); END $$;
CREATE FUNCTION blocked() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM durable.call_activity('blocks'); RETURN 1; END $$;
CREATE FUNCTION free() RETURNS int LANGUAGE sql AS 'SELECT 2';];
my $waiting = q[FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())];
my %holders;
foreach my $database ('other', 'postgres')
{
	$node->safe_psql($database, $functions);
	$holders{$database} = $node->background_psql($database);
	$holders{$database}->query_safe('SELECT pg_advisory_lock(1)');
	$node->safe_psql($database, q[SELECT durable.start_new('blocked')]);
	poll_until($node, "SELECT count(*) = 1 $waiting", "an activity in database $database takes its time", 't', $database);
	$node->safe_psql($database, q[SELECT durable.start_new('free', instance_id => 'quick')]);
	is($node->safe_psql($database, q[SELECT output FROM durable.wait_for_completion('quick', '1 min')]), '2',
		"the role's other work is served");
}
$node->safe_psql('postgres', q[SELECT durable.start_new('blocked', instance_id => 'second')]);
# its scheduler has been refused a place when it has gone to sleep
poll_until($node, q[SELECT s.state = 'idle' AND s.state_change < clock_timestamp() - interval '200 ms' AND q.waiting_since < s.state_change
	FROM pg_stat_activity s, durable_internal.queues() q WHERE s.backend_type = 'durable scheduler' AND s.datname = 'postgres' AND q.activities = 1],
	'another activity waits for a place');
is($node->safe_psql('postgres', "SELECT count(*) $waiting"), '1', 'and does not run');
$holders{other}->query_safe('SELECT pg_advisory_unlock(1)');
poll_until($node, "SELECT count(*) = 2 $waiting", 'it gets one when that of the other database has ended');
$holders{postgres}->query_safe('SELECT pg_advisory_unlock(1)');
$_->quit foreach values %holders;

$node->safe_psql('postgres', q[SELECT count(durable.start_new('free')) FROM generate_series(1, 70000)]);
poll_until($node, q[SELECT NOT EXISTS (SELECT FROM durable_internal.instances WHERE state IN ('R', 'W'))], 'more instances than the lists hold');
is($node->safe_psql('postgres', q[SELECT count(*) FROM durable.instances WHERE runtime_status = 'Completed']), 70003, 'complete');
is($node->safe_psql('postgres', 'SELECT count(*) FROM durable_internal.violations'), 0, 'no invariant is broken');
$node->stop;
done_testing();
