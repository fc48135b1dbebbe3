# Large and deep JSON: it works, or it is a clear error; the server lives and other instances complete.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use DurableTest;

my $node = durable_node('big', conf => "log_statement = none\ndurable.max_payload = 1GB");

$node->safe_psql(
	'postgres', q(
	CREATE FUNCTION size_of(x jsonb) RETURNS int LANGUAGE sql AS 'SELECT length(x::text)';
	CREATE FUNCTION size_of_text(x text) RETURNS int LANGUAGE sql AS 'SELECT length(x)';
	CREATE FUNCTION echo(x jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT x';
	-- An array of strings of a megabyte, or one string.
	CREATE FUNCTION make(megabytes int) RETURNS jsonb LANGUAGE sql AS
		$$ SELECT jsonb_agg(repeat('x', 1000000)) FROM generate_series(1, megabytes) $$;
	CREATE FUNCTION make_string(megabytes int) RETURNS text LANGUAGE sql AS $$ SELECT repeat('x', megabytes * 1000000) $$;
	CREATE FUNCTION deep(levels int) RETURNS jsonb LANGUAGE sql AS $$ SELECT (repeat('[', levels) || repeat(']', levels))::jsonb $$;
	-- The result of one activity is the input of another.
	CREATE FUNCTION through(maker text, megabytes int, taker text) RETURNS jsonb LANGUAGE plpgsql AS
		$$ BEGIN RETURN durable.call_activity(taker, durable.call_activity(maker, to_jsonb(megabytes))); END $$;
	CREATE FUNCTION answer() RETURNS int LANGUAGE sql AS 'SELECT 42';));

# Runs SQL that starts an instance and returns its status and what came of it, as a text without the bulk.
sub outcome
{
	my ($id) = @_;
	poll_until($node, "SELECT runtime_status IN ('Completed', 'Failed') FROM durable.instances WHERE instance_id = '$id'", "$id ends");
	return $node->safe_psql('postgres',
		"SELECT runtime_status, coalesce(failure->>'sqlstate', ''), left(coalesce(failure->>'message', output::text), 100) FROM durable.get_status('$id')");
}

# After a crash the postmaster starts every other process again, itself it stays. The scheduler and the workers also leave and come
# without a crash, when there is nothing to do; the checkpointer and the launcher do not.
my $started = $node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()');
my $lasting = q(SELECT string_agg(pid::text, ' ' ORDER BY backend_type) FROM pg_stat_activity WHERE backend_type IN ('checkpointer', 'durable launcher'));
poll_until($node, "SELECT ($lasting) ~ '^[0-9]+ [0-9]+\$'", 'there are a checkpointer and a launcher');
my $processes = $node->safe_psql('postgres', $lasting);

# Asserts that the same processes still run instances.
sub lives
{
	my ($what) = @_;
	my $id = $node->safe_psql('postgres', q(SELECT durable.start_new('answer')));
	is($node->safe_psql('postgres', "SELECT runtime_status, output FROM durable.wait_for_completion('$id', '1 min')"), 'Completed|42', "$what: others complete");
	is($node->safe_psql('postgres', $lasting), $processes, "$what: the server did not restart");
}

# 200 MB as input: of start_new, and of an activity; as a result.
$node->safe_psql('postgres', q(SELECT durable.start_new('size_of', make(200), instance_id => 'input-array')));
is(outcome('input-array'), 'Completed||200000800', '200 MB of input as an array');
lives('200 MB of input');
$node->safe_psql('postgres', q(SELECT durable.start_new('size_of_text', to_jsonb(make_string(200)), instance_id => 'input-string')));
is(outcome('input-string'), 'Completed||200000000', '200 MB of input as a string');
lives('200 MB in a string');
$node->safe_psql('postgres', q(SELECT durable.start_new('through', '["make", 200, "size_of"]', instance_id => 'activity-array')));
is(outcome('activity-array'), 'Completed||200000800', '200 MB from activity to activity');
lives('200 MB of result');
$node->safe_psql('postgres', q(SELECT durable.start_new('make', '200', instance_id => 'output')));
poll_until($node, q(SELECT runtime_status = 'Completed' FROM durable.instances WHERE instance_id = 'output'), '200 MB of output');
is($node->safe_psql('postgres', q(SELECT length(output::text) FROM durable.get_status('output'))), '200000800', 'can be read');
is($node->safe_psql('postgres', q(SELECT length(history::text) > 200000000 FROM durable.get_status('output', true, true))), 't', 'also with the history');

# Past the limits of jsonb: a string of 256 MB, and an array of as much.
my ($rc, $out, $err) = $node->psql('postgres', q(SELECT durable.start_new('size_of', to_jsonb(make_string(300)))), on_error_stop => 0);
like($err, qr/string too long to represent as jsonb string/, 'a string too long for jsonb is an error');
$node->safe_psql('postgres', q(SELECT durable.start_new('make_string', '300', instance_id => 'string-too-long')));
like(outcome('string-too-long'), qr/^Failed\|54000\|string too long to represent as jsonb string$/, 'also as a result');
$node->safe_psql('postgres', q(SELECT durable.start_new('make', '300', instance_id => 'array-too-long')));
like(outcome('array-too-long'), qr/^Failed\|54000\|total size of jsonb array elements exceeds the maximum/, 'and an array');
$node->safe_psql('postgres', q(SELECT durable.start_new('through', '["make_string", 300, "size_of"]', instance_id => 'activity-too-long')));
like(outcome('activity-too-long'), qr/^Failed\|54000\|string too long/, 'and of an activity');
lives('too much');

# Deep JSON: the parser's own limit is the stack.
($rc, $out, $err) = $node->psql('postgres', q(SELECT durable.start_new('echo', deep(1000000))));
like($err, qr/stack depth limit exceeded/, 'JSON too deep is an error');
$node->safe_psql('postgres', q(SELECT durable.start_new('through', '["deep", 1000000, "echo"]', instance_id => 'too-deep')));
like(outcome('too-deep'), qr/^Failed\|54001\|stack depth limit exceeded$/, 'also in an activity');
# The deepest that a session can read must do no harm to a worker, which compares and copies it.
my ($low, $high) = (100, 100000);
while ($high - $low > 50)
{
	my $middle = int(($low + $high) / 2);
	($rc) = $node->psql('postgres', "SELECT deep($middle)::text IS NOT NULL");
	if ($rc == 0) { $low = $middle } else { $high = $middle }
}
note("the deepest JSON has about $low levels");
foreach my $levels (1000, 1001, $low, $low - 100)
{
	($rc, $out, $err) = $node->psql('postgres', "SELECT durable.start_new('through', '[\"deep\", $levels, \"echo\"]', instance_id => 'deep-$levels')");
	like(outcome("deep-$levels"), $levels == 1000 ? qr/^Completed\|\|/ : qr/^Failed\|54000\|a payload has arrays and objects in more than 1000 levels/, "JSON of $levels levels");
}
lives('deep JSON');

# Sub-orchestrations are removed with their parent, whatever they have stored, with the memory that one takes.
SKIP:
{
	skip 'no /proc', 2 unless -r '/proc/self/status';
	$node->safe_psql('postgres', q(
		CREATE FUNCTION leaf() RETURNS int LANGUAGE sql AS 'SELECT 1';
		CREATE FUNCTION begets(n int) RETURNS void LANGUAGE plpgsql AS $$
		BEGIN
			FOR i IN 1 .. n LOOP
				PERFORM durable.start_sub_orchestrator('leaf', instance_id => 'leaf-' || i);
			END LOOP;
		END $$;
		SELECT durable.start_new('begets', '8', 'kin')));
	poll_until($node, q(SELECT count(*) = 8 FROM durable.instances WHERE instance_id ^@ 'leaf-' AND runtime_status = 'Completed'), 'a family');
	$node->safe_psql('postgres', "SELECT durable.set_custom_status('leaf-$_', to_jsonb(repeat('x', 30000000)))") foreach 1 .. 8;
	my ($purged, $peak) = split /\n/, $node->safe_psql('postgres',
		q(SELECT durable.purge_instance_history('kin'); SELECT substring(pg_read_file('/proc/self/status') FROM 'VmHWM:\s+(\d+)')));
	is($purged, '9', 'it is removed');
	cmp_ok($peak, '<', 250 * 1024, 'with little memory');
}

is($node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()'), $started, 'the postmaster is the same');
is($node->safe_psql('postgres', 'SELECT * FROM durable_internal.violations'), '', 'no violations');
$node->stop;
unlike(slurp_file($node->logfile), qr/PANIC|TRAP:|was terminated by signal/, 'nothing crashed');
done_testing();
