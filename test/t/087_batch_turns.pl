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

# Nor do those whose turns take so long that each is run alone.
$node->safe_psql('postgres', q(
	CREATE FUNCTION slow() RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.03); PERFORM durable.continue_as_new(); END $$;
	SELECT count(durable.start_new('slow')) FROM generate_series(1, 2)));
poll_until($node, q(SELECT bool_and(last_updated_time > created_time) FROM durable.instances WHERE name = 'slow'), 'slow ones run');
foreach my $i (1 .. 5)
{
	$node->safe_psql('postgres', "SELECT durable.start_new('hello', instance_id => 'beside slow $i')");
	poll_until($node, "SELECT runtime_status = 'Completed' FROM durable.get_status('beside slow $i')", 'one beside them too');
}
$node->safe_psql('postgres', q(SELECT count(durable.terminate(instance_id)) FROM durable.instances WHERE name = 'endless' AND completed_time IS NULL));
poll_until($node, q(SELECT count(*) = 0 FROM durable.instances WHERE name = 'endless' AND completed_time IS NULL), 'the quick ones are terminated beside them');
foreach my $i (6 .. 10)
{
	$node->safe_psql('postgres', "SELECT durable.start_new('hello', instance_id => 'beside slow $i')");
	poll_until($node, "SELECT runtime_status = 'Completed' FROM durable.get_status('beside slow $i')", 'and one beside the slow ones only');
}
$node->safe_psql('postgres', q(SELECT count(durable.terminate(instance_id)) FROM durable.instances WHERE completed_time IS NULL));
poll_until($node, q(SELECT count(*) = 0 FROM durable.instances WHERE completed_time IS NULL), 'all are terminated');
$node->stop;
done_testing();
