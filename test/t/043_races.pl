# What comes for an instance while a client's transaction has its row is not left to polling, even if that rolls back.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use DurableTest;

my $node = durable_node('races', conf => 'durable.poll_interval = 1h');
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
is($node->safe_psql('postgres', 'SELECT count(*) FROM durable_internal.violations'), 0, 'no invariant is broken');

done_testing();
