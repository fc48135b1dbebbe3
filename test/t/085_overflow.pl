# A role that has more work than the ready lists hold, and does not get on with it, keeps no other role's work out of them:
# neither queued activities nor timers nor what only a scan of the tables finds.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use DurableTest;

my $node = durable_node('overflow', conf => 'durable.max_workers = 4');
$node->safe_psql(
	'postgres', q(
	CREATE ROLE flood LOGIN;
	CREATE ROLE guest LOGIN;
	SELECT durable.grant_usage('flood'), durable.grant_usage('guest');
	CREATE FUNCTION nap() RETURNS void LANGUAGE sql AS 'SELECT pg_sleep(600)';
	CREATE FUNCTION long() RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM durable.call_activity('nap'); END $$;
	CREATE FUNCTION step() RETURNS int LANGUAGE sql AS 'SELECT 1';
	CREATE FUNCTION hello() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN durable.call_activity('step'); END $$;
	CREATE FUNCTION waits() RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM durable.wait_for_external_event('go'); END $$;
	));

# Runs as a role.
sub as
{
	my ($role, $sql) = @_;

	return $node->safe_psql('postgres', $sql, extra_params => [ '-U', $role ]);
}

# Asserts that an instance ends.
sub completes
{
	my ($id, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return poll_until($node, "SELECT runtime_status = 'Completed' FROM durable.get_status('$id')", $what);
}

# Whether commits announce what they make ready.
sub wakeups
{
	my ($on) = @_;

	$node->append_conf('postgresql.conf', "durable.wakeups = $on");
	$node->reload;
	$node->poll_query_until('postgres', 'SHOW durable.wakeups', $on) or die 'no reload';
}

# Activities that take long, one in each instance.
as('flood', q(SELECT count(*) FROM (SELECT durable.start_new('long') FROM generate_series(1, 6000)) f));
poll_within($node, 600, q(SELECT count(*) = 6000 FROM durable_internal.tasks), 'more activities are queued than the lists hold');
as('guest', q(SELECT durable.start_new('hello', instance_id => 'activity')));
completes('activity', q(another role's activity runs));
as('flood', q(SELECT count(*) FROM (SELECT durable.terminate(instance_id, cancel_activities => true) FROM durable.instances WHERE completed_time IS NULL) t));
poll_until($node, q(SELECT count(*) = 0 FROM durable.instances WHERE completed_time IS NULL), 'all ends');

# Messages and timers of a role that cannot have workers.
as('flood', q(SELECT count(*) FROM (SELECT durable.start_new('hello', start_at => now() + '1 h') FROM generate_series(1, 40000)) f));
$node->safe_psql('postgres', 'ALTER ROLE flood NOLOGIN');
as('guest', q(SELECT durable.start_new('waits', instance_id => 'event')));
poll_until($node, q(SELECT runtime_status = 'Running' FROM durable.get_status('event')), 'an instance waits');
$node->safe_psql('postgres', q(SELECT count(*) FROM (SELECT durable.raise_event(instance_id, 'go') FROM durable.instances WHERE name = 'hello' AND completed_time IS NULL) f));
wakeups('off');
$node->safe_psql('postgres', q(SELECT durable.raise_event('event', 'go')));
completes('event', 'a scan finds an event behind those');
wakeups('on');

$node->safe_psql('postgres', q(UPDATE durable_internal.timers SET fire_at = now() - interval '1 min' - key % 2 * interval '1 min'));
as('guest', q(SELECT durable.start_new('hello', instance_id => 'delayed', start_at => now() + '10 ms')));
completes('delayed', q(another role's timer fires));
$node->safe_psql('postgres', 'ALTER ROLE flood LOGIN');
poll_until($node, q(SELECT count(*) = 0 FROM durable.instances WHERE completed_time IS NULL), 'all ends when the role can have workers again');
is($node->safe_psql('postgres', 'SELECT * FROM durable_internal.violations'), '', 'no violations');
$node->stop;
done_testing();
