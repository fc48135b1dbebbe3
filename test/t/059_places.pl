# Instances that can always go on, more than a round gets to, leave others of their batch and of the queue their turn.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use DurableTest;

my $node = durable_node('places', conf => "durable.max_workers = 1\ndurable.batch_size = 1000");
$node->safe_psql(
	'postgres', q(
	CREATE FUNCTION hello() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END';
	CREATE FUNCTION endless() RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM count(*) FROM generate_series(1, 20000);
		PERFORM durable.continue_as_new();
	END $$;
	));
foreach my $name ('hello', 'endless')
{
	$node->safe_psql('postgres', "SELECT durable.start_new('$name', instance_id => '$name')");
	poll_until($node, "SELECT last_updated_time > created_time FROM durable.get_status('$name')", "$name is known to be quick");
}

# It runs once in a round, and does not fill it, which others would have to wait for.
my ($turns, $batches) = split /\|/, $node->safe_psql('postgres', 'SELECT sum(turns), sum(batches) FROM durable.stats');
poll_until($node, "SELECT sum(turns) > $turns + 100 FROM durable.stats", 'it goes on');
is($node->safe_psql('postgres', "SELECT sum(batches) - $batches > 50 FROM durable.stats"), 't', 'with a commit each time');

# Rounds take them in the order in which they were started.
$node->safe_psql('postgres', q(
	SELECT count(durable.start_new('endless', instance_id => 'endless ' || i)) FROM generate_series(1, 30) i;
	SELECT durable.start_new('hello', instance_id => 'last')));
poll_until($node, q(SELECT runtime_status = 'Completed' FROM durable.get_status('last')), 'one that comes last in a batch gets its turn');
poll_until($node, q(SELECT count(*) = 31 FROM durable_internal.instances WHERE name = 'endless' AND last_updated_time > created_time), 'all get theirs');
foreach my $i (1 .. 2)
{
	$node->safe_psql('postgres', "SELECT durable.start_new('hello', instance_id => 'later $i')");
	poll_until($node, "SELECT runtime_status = 'Completed' FROM durable.get_status('later $i')", 'so does one that comes later');
}
$node->safe_psql('postgres', q(SELECT count(durable.terminate(instance_id)) FROM durable.instances WHERE completed_time IS NULL));
poll_until($node, q(SELECT count(*) = 0 FROM durable.instances WHERE completed_time IS NULL), 'all are terminated');
$node->stop;
done_testing();
