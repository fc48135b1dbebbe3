# What comes for an instance while a client's transaction has its row is not left to polling, even if that rolls back;
# an interrupt that comes too late does no harm.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use DurableTest;

# a role gets all workers but the last: one
my $node = durable_node('races', conf => "durable.poll_interval = 1h\ndurable.max_workers = 2\n");
my $connection = 'dbname=postgres host=' . $node->host . ' port=' . $node->port;

$node->safe_psql('postgres', q[
CREATE EXTENSION dblink;
CREATE FUNCTION listens() RETURNS jsonb LANGUAGE sql AS $$ SELECT durable.wait_for_external_event('go') $$;
SELECT durable.start_new('listens', instance_id => 'raced');
]);
poll_until($node, q[SELECT runtime_status = 'Running' FROM durable.get_status('raced')], 'it waits');

is($node->safe_psql('postgres', qq[
BEGIN;
SELECT durable.start_new('listens', instance_id => 'raced', dedupe_statuses => '{}');
DO \$\$
DECLARE
	before bigint := (SELECT sum(batches) FROM durable.stats);
BEGIN
	PERFORM FROM dblink('$connection', 'SELECT 1 FROM durable.raise_event(''raced'', ''go'', ''1'')') AS t (one int);
	-- until a worker has met the locked row
	WHILE (SELECT sum(batches) FROM durable.stats) = before LOOP
	END LOOP;
END \$\$;
ROLLBACK;
SELECT runtime_status, output FROM durable.wait_for_completion('raced', '1 min');
]), "raced\nCompleted|1", 'an event raised meanwhile arrives at the rollback');
# An interrupt that comes when the activity it was meant for has ended is the one of a worker that has nothing to do.
my $idle = q[SELECT pid FROM durable.workers WHERE state = 'idle'];
poll_until($node, qq[SELECT EXISTS ($idle)], 'the worker is idle');
my $worker = $node->safe_psql('postgres', $idle);
$node->safe_psql('postgres', qq[
SELECT pg_cancel_backend($worker);
SELECT durable.start_new('listens', instance_id => 'later');
]);
$node->safe_psql('postgres', q[SELECT durable.raise_event('later', 'go'); SELECT durable.wait_for_completion('later', '1 min')]);
poll_until($node, qq[SELECT EXISTS ($idle)], 'it is idle again');
is($node->safe_psql('postgres', $idle), $worker, 'a late interrupt does not end a worker');

is($node->safe_psql('postgres', 'SELECT count(*) FROM durable_internal.violations'), 0, 'no invariant is broken');

done_testing();
