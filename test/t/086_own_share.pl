# Instances that can always go on do not keep the only worker of their role from its other instances and activities.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use DurableTest;

my $node = durable_node('own_share', conf => "durable.max_workers = 1\ndurable.batch_size = 10");
$node->safe_psql(
	'postgres', q(
	CREATE FUNCTION step(n int) RETURNS int LANGUAGE sql AS 'SELECT n + 1';
	CREATE FUNCTION hello() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN durable.call_activity('step', '1'); END $$;
	CREATE FUNCTION nap() RETURNS void LANGUAGE sql AS 'SELECT pg_sleep(0.1)';
	CREATE FUNCTION long() RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM durable.call_activity('nap'); END $$;
	CREATE FUNCTION chain(n int) RETURNS int LANGUAGE plpgsql AS $$
	BEGIN
		FOR i IN 1 .. 100 LOOP
			n := durable.call_activity('step', to_jsonb(n));
		END LOOP;
		RETURN durable.continue_as_new(to_jsonb(n));
	END
	$$;
	CREATE FUNCTION slow_chain(n int) RETURNS int LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM pg_sleep(0.02);
		RETURN durable.continue_as_new(durable.call_activity('step', to_jsonb(n)));
	END
	$$;
	));

# Starts instances that never end, and asserts that others beside them do.
sub beside
{
	my ($name, $count) = @_;

	$node->safe_psql('postgres', "SELECT count(*) FROM (SELECT durable.start_new('$name', '0') FROM generate_series(1, $count)) f");
	poll_until($node, "SELECT bool_or(started_time IS NOT NULL) FROM durable_internal.instances WHERE name = '$name'", "$name: it runs");
	foreach my $other ('hello', 'long')
	{
		$node->safe_psql('postgres', "SELECT durable.start_new('$other', instance_id => '$other beside $name $count')");
		poll_until($node, "SELECT runtime_status = 'Completed' FROM durable.get_status('$other beside $name $count')", "$name: $other ends beside $count");
	}
	poll_until($node, "SELECT bool_and(started_time IS NOT NULL) FROM durable_internal.instances WHERE name = '$name'", "$name: all run");
	$node->safe_psql('postgres', q(SELECT count(*) FROM (SELECT durable.terminate(instance_id) FROM durable.instances WHERE completed_time IS NULL) t));
	poll_until($node, q(SELECT count(*) = 0 FROM durable.instances WHERE completed_time IS NULL), "$name: all end");
}

# one that is run alone at first, as nothing is known of it; more than a batch; turns that are always run alone
beside('chain', 1);
beside('chain', 25);
beside('slow_chain', 3);

# a turn that takes as long as many rounds counts for as many
$node->safe_psql(
	'postgres', q(
	CREATE FUNCTION slower_chain(n int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.5); RETURN durable.continue_as_new(to_jsonb(n + 1)); END $$;
	SELECT durable.start_new('slower_chain', '0', instance_id => 'slower');
	));
my $turns = q(SELECT input::int FROM durable.get_status('slower'));
poll_until($node, qq(SELECT ($turns) > 1), 'turns take half a second');
my $before = $node->safe_psql('postgres', $turns);
$node->safe_psql('postgres', q(SELECT durable.start_new('hello', instance_id => 'beside slower')));
poll_until($node, q(SELECT runtime_status = 'Completed' FROM durable.get_status('beside slower')), 'hello ends beside them');
cmp_ok($node->safe_psql('postgres', $turns) - $before, '<', 10, 'it did not wait for many');
$node->safe_psql('postgres', q(SELECT durable.terminate('slower')));
is($node->safe_psql('postgres', 'SELECT * FROM durable_internal.violations'), '', 'no violations');

# a fan-out whose activities take longer than they did so far does not keep its worker to its end
$node->safe_psql(
	'postgres', q(
	CREATE FUNCTION digest(n int) RETURNS text LANGUAGE sql AS $$ SELECT md5(repeat('x', n)) $$;
	CREATE FUNCTION digests(count int, n int) RETURNS int LANGUAGE plpgsql AS $$
	BEGIN
		RETURN cardinality(durable.when_all(ARRAY(SELECT durable.schedule_activity('digest', to_jsonb(n)) FROM generate_series(1, count))));
	END
	$$;
	));
foreach my $i (1 .. 3)
{
	$node->safe_psql('postgres', "SELECT durable.start_new('digests', '[1000, 1]', 'digests $i')");
	poll_until($node, "SELECT runtime_status = 'Completed' FROM durable.get_status('digests $i')", 'digests are quick');
}
$node->safe_psql('postgres', q(SELECT durable.start_new('digests', '[20000, 100000]', 'digests')));
poll_until($node, q(SELECT started_time IS NOT NULL FROM durable_internal.instances WHERE instance_id = 'digests'), 'and no longer are');
$node->safe_psql('postgres', q(SELECT durable.start_new('hello', instance_id => 'beside digests')));
poll_until($node, q(SELECT runtime_status = 'Completed' FROM durable.get_status('beside digests')), 'hello ends beside them');
is($node->safe_psql('postgres', q(SELECT runtime_status FROM durable.get_status('digests'))), 'Running', 'and has not waited for them');
$node->safe_psql('postgres', q(SELECT durable.terminate('digests')));
poll_until($node, q(SELECT runtime_status = 'Terminated' FROM durable.get_status('digests')), 'they end');

# a turn that takes longer than a round may, of an instance that the worker does not remember
$node->safe_psql('postgres', q(
	CREATE FUNCTION pause() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.05); RETURN durable.call_activity('step', '1'); END $$;
));
$node->safe_psql('postgres', "ALTER SYSTEM SET durable.$_") foreach 'history_cache = 0', 'batch_time = 10';
$node->reload;
$node->safe_psql('postgres', "SELECT durable.start_new('pause', instance_id => 'pause $_')") foreach 1 .. 3;
poll_until($node, q(SELECT count(*) = 3 FROM durable.instances WHERE instance_id ^@ 'pause ' AND runtime_status = 'Completed'), 'comes to its end');

$node->stop;
done_testing();
