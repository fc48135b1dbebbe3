# EXPLAIN ANALYZE counts the rows that a view was not to show. The counts tell a patient tenant nothing of what other
# roles have: they are the same whether a condition is met by instances of others or by none.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use DurableTest;

my $node = durable_node('counts', conf => "durable.max_workers = 2\n");

$node->safe_psql('postgres', q[
CREATE ROLE curious LOGIN; CREATE ROLE victim LOGIN;
SELECT durable.grant_usage('curious'), durable.grant_usage('victim');
CREATE FUNCTION public.secret_name(input jsonb) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM durable.call_activity('public.secret_step', to_jsonb(1));
	PERFORM durable.call_activity('public.secret_failure', retry => durable.retry_policy(2, '1 hour'));
	RETURN 'done';
END $$;
CREATE FUNCTION public.secret_step(input jsonb) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION public.secret_failure() RETURNS int LANGUAGE sql AS 'SELECT 1/0';
CREATE FUNCTION public.plain() RETURNS int LANGUAGE sql AS 'SELECT 1']);
$node->safe_psql('postgres', q[
SELECT durable.start_new('public.secret_name', to_jsonb(i), instance_id => 'hidden-' || i, version => 'secret_version') FROM generate_series(1, 50) i],
	extra_params => [ '-U', 'victim' ]);
$node->safe_psql('postgres', q[SELECT durable.start_new('public.plain', instance_id => 'mine')], extra_params => [ '-U', 'curious' ]);
poll_until($node, q[SELECT (SELECT count(*) FROM durable.timers) >= 50 AND (SELECT output FROM durable.get_status('mine')) = '1'], 'everything waits', 't') or BAIL_OUT('nothing to look at');
$node->safe_psql('postgres', 'VACUUM ANALYZE');

my $function = $node->safe_psql('postgres', q[SELECT function FROM durable.instances WHERE instance_id = 'hidden-1']);

sub plan_of
{
	my ($view, $condition, $options) = @_;

	return $node->safe_psql('postgres', "EXPLAIN ($options) SELECT * FROM durable.$view WHERE $condition", extra_params => [ '-U', 'curious' ]);
}

for my $case (
	[ 'instances', 'name', 'public.secret_name' ],
	[ 'instances', 'function', $function ],
	[ 'instances', 'version', 'secret_version' ],
	[ 'history', 'name', 'public.secret_step' ],
	[ 'history', 'name', 'public.secret_failure' ],
	[ 'activities', 'name', 'public.secret_failure' ])
{
	my ($view, $column, $secret) = @$case;

	for my $options ('ANALYZE, TIMING OFF, SUMMARY OFF, BUFFERS OFF', 'COSTS ON')
	{
		my $hit = plan_of($view, "$column = '$secret'", $options);
		my $miss = plan_of($view, "$column = 'nobody'", $options);

		is($hit =~ s/\Q$secret\E/nobody/gr, $miss, "$view.$column = '$secret', $options: the same as of a name that nobody has");
	}
	isnt($node->safe_psql('postgres', "SELECT count(*) FROM durable.$view WHERE $column = '$secret'"), '0', 'there are such rows');
}

# IS NULL costs nothing, and still no row is counted apart
for my $condition ('completed_time IS NULL', 'completed_time IS NOT NULL')
{
	like(plan_of('instances', $condition, 'ANALYZE, TIMING OFF, SUMMARY OFF, COSTS OFF'), qr/Rows Removed by Filter: 5[01]\n/, "instances, $condition: all are counted");
}
$node->stop;
done_testing();
