# Idle workers of another role make way for slow activities, also while a worker is left to the quick work of their role.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use DurableTest;

my $node = durable_node('idle_others', conf => "durable.max_workers = 4\ndurable.worker_idle_timeout = 1h\ndurable.poll_interval = 10min");
$node->safe_psql(
	'postgres', q(
	CREATE ROLE other LOGIN;
	SELECT durable.grant_usage('other');
	CREATE FUNCTION wait_for(lock int) RETURNS void LANGUAGE sql AS 'SELECT pg_advisory_xact_lock_shared(lock)';
	CREATE FUNCTION waiter(lock int) RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM durable.call_activity('wait_for', to_jsonb(lock)); END $$;
	CREATE FUNCTION quick() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END';
	));
sub poll_waiting
{
	my ($count, $what) = @_;
	poll_until($node, "SELECT count(*) = $count FROM pg_locks WHERE locktype = 'advisory' AND NOT granted", $what);
}

# Three workers of the other role, which are idle then.
my $session = $node->background_psql('postgres');
$session->query_safe('SELECT pg_advisory_lock(1), pg_advisory_lock(2)');
$node->safe_psql('postgres', q(SET ROLE other; SELECT count(durable.start_new('waiter', '1')) FROM generate_series(1, 2)));
poll_waiting(2, 'two of the other role run');
$node->safe_psql('postgres', q(SET ROLE other; SELECT durable.start_new('quick', instance_id => 'quick')));
poll_until($node, q(SELECT runtime_status = 'Completed' FROM durable.get_status('quick')), 'and a quick one beside them');
$session->query_safe('SELECT pg_advisory_unlock(1)');
poll_until($node, q(SELECT count(*) >= 3 FROM durable_internal.workers() WHERE state = 'idle' AND role = 'other'::regrole), 'its workers are idle');

$node->safe_psql('postgres', q(SELECT durable.start_new('waiter', '2')));
poll_waiting(1, 'a slow one of this role runs');
$node->safe_psql('postgres', q(SELECT durable.start_new('waiter', '2')));
poll_waiting(2, 'and another');
$node->safe_psql('postgres', q(SET ROLE other; SELECT durable.start_new('quick', instance_id => 'quick again')));
poll_until($node, q(SELECT runtime_status = 'Completed' FROM durable.get_status('quick again')), 'and the other role has one left');
$session->query_safe('SELECT pg_advisory_unlock(2)');
poll_until($node, q(SELECT count(*) = 0 FROM durable.instances WHERE completed_time IS NULL), 'all end');
$session->quit;
$node->stop;
done_testing();
