# Quick activities in sequence have a transaction each; a worker's death repeats only the activity that ran and is blamed on it,
# and each one's effects in the database are there once.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use DurableTest;

my $node = durable_node('steps', conf => 'durable.max_activity_deliveries = 3');
my ($rc, $out, $err) = $node->psql('postgres', 'CREATE EXTENSION plpython3u');
plan skip_all => "no plpython3u: $err" if $rc != 0;

$node->safe_psql(
	'postgres', q(
	CREATE TABLE effects (instance_id text, task_id int, xact xid8 DEFAULT pg_current_xact_id(), UNIQUE (instance_id, task_id));
	CREATE FUNCTION effect(killed bool) RETURNS int LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO effects VALUES (durable.instance_id(), durable.task_id());
		IF killed THEN
			PERFORM pg_terminate_backend(pg_backend_pid()), pg_sleep(60);
		END IF;
		RETURN 1;
	END
	$$;
	CREATE FUNCTION steps(steps int, killed_at int) RETURNS int LANGUAGE plpgsql AS $$
	DECLARE
		total int := 0;
	BEGIN
		FOR i IN 1 .. steps LOOP
			total := total + durable.call_activity('effect', to_jsonb(i = killed_at))::int;
		END LOOP;
		RETURN total;
	END
	$$;));

my $ids = 0;

# Runs one and returns its id.
sub run_steps
{
	my ($input) = @_;
	my $id = 'steps-' . ++$ids;
	$node->safe_psql('postgres', "SELECT durable.start_new('steps', '$input', instance_id => '$id')");
	poll_until($node, "SELECT runtime_status IN ('Completed', 'Failed') FROM durable.get_status('$id')", "$id $input ends");
	return $id;
}

# How many transactions its activities took; the first ones only teach the workers that they are quick.
sub transactions
{
	run_steps('{"steps": 30, "killed_at": 0}') for 1 .. 3;
	my $id = run_steps('{"steps": 30, "killed_at": 0}');
	is($node->safe_psql('postgres', "SELECT output FROM durable.get_status('$id')"), '30', 'its output');
	return $node->safe_psql('postgres', "SELECT count(DISTINCT xact) FROM effects WHERE instance_id = '$id'");
}

is(transactions(), 30, 'each activity has a transaction');

my $id = run_steps('{"steps": 30, "killed_at": 25}');
is( $node->safe_psql('postgres', qq(SELECT failure->>'sqlstate', failure->>'task_id' FROM durable.get_status('$id'))),
	'OD007|25', 'the activity that killed its worker failed');
is($node->safe_psql('postgres', "SELECT count(*), max(task_id) FROM effects WHERE instance_id = '$id'"), '24|24', 'those before it have had effect once');
is($node->safe_psql('postgres', 'SELECT * FROM durable_internal.violations'), '', 'no violations');
$node->stop;
unlike(slurp_file($node->logfile), qr/PANIC|TRAP:/, 'no panic and no failed assertion');
done_testing;
