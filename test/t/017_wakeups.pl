# No wake-up is ever needed: with all of them off, everything completes by polling.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use DurableTest;

my $node = durable_node('wakeups', conf => q(
durable.wakeups = off
durable.poll_interval = 50ms
));

$node->safe_psql('postgres', q[
CREATE ROLE other LOGIN;
SELECT durable.grant_usage('other');
CREATE FUNCTION echo(x jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT x';
CREATE FUNCTION slow(x jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT x FROM pg_sleep(0.1)';
CREATE FUNCTION failing() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	IF durable.attempt() < 3 THEN
		RAISE EXCEPTION 'not yet';
	END IF;
END $$;
CREATE FUNCTION everything(n int DEFAULT 1) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	result jsonb;
BEGIN
	result := durable.call_activity('echo', '1') || durable.call_activity('slow', '2');
	result := result || to_jsonb(durable.when_all(VARIADIC ARRAY(SELECT durable.schedule_activity('slow', to_jsonb(i)) FROM generate_series(1, 5) i)));
	PERFORM durable.sleep('100 ms');
	PERFORM durable.call_activity('failing', retry => durable.retry_policy(max_attempts => 3, first_interval => '10 ms'));
	result := result || durable.call_sub_orchestrator('echo', '3') || durable.wait_for_external_event('e');
	IF n < 3 THEN
		PERFORM durable.continue_as_new(to_jsonb(n + 1));
	END IF;
	RETURN result;
END $$;
SELECT durable.start_new('everything', instance_id => 'all-' || i) FROM generate_series(1, 3) i;
SELECT durable.raise_event('all-' || i, 'e', to_jsonb(j)) FROM generate_series(1, 3) i, generate_series(1, 3) j;
SET ROLE other;
SELECT durable.start_new('everything', instance_id => 'other');
SELECT durable.start_new('everything', instance_id => 'terminated', start_at => clock_timestamp() + '200 ms');
]);
$node->safe_psql('postgres', qq[SELECT durable.raise_event('other', 'e', '$_')]) for 1 .. 3;
$node->safe_psql('postgres', q[SELECT durable.suspend('all-1'); SELECT durable.resume('all-1'); SELECT durable.terminate('terminated')]);

poll_until($node, q[SELECT count(*) FILTER (WHERE runtime_status = 'Completed' AND output = '[1, 2, 1, 2, 3, 4, 5, 3, 3]') = 4
	FROM durable.instances WHERE name = 'everything'], 'everything completes')
	or diag($node->safe_psql('postgres', 'SELECT instance_id, runtime_status, output FROM durable.instances'));
is($node->safe_psql('postgres', q[SELECT runtime_status FROM durable.get_status('terminated')]), 'Terminated', 'or is terminated');
is($node->safe_psql('postgres', q[SELECT (durable.wait_for_completion('all-1')).runtime_status]), 'Completed', 'clients that wait see the end');

is($node->safe_psql('postgres', 'SELECT count(*) FROM durable_internal.violations'), 0, 'no invariant is broken');

done_testing();
