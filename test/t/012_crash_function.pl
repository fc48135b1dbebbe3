# A function that kills its own process: it is tried durable.max_activity_deliveries times and then fails with OD007; the
# server comes back each time, other instances complete, and what ran beside it has no effect twice.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use DurableTest;

# crash(0) dereferences NULL, crash(9) is kill -9 by another process.
my $library = "$ENV{DURABLE_TMP}/tmp/crash-$$";
append_to_file("$library.c", q(
#include "postgres.h"
#include <signal.h>
#include <unistd.h>
#include "fmgr.h"
PG_MODULE_MAGIC;
PG_FUNCTION_INFO_V1(crash);
Datum
crash(PG_FUNCTION_ARGS)
{
	int *volatile nowhere = NULL;

	if (PG_GETARG_INT32(0) != 0)
		kill(getpid(), PG_GETARG_INT32(0));
	PG_RETURN_INT32(*nowhere);
}
));
chomp(my $include = qx($ENV{PG_CONFIG} --includedir-server));
system_or_bail('gcc', '-shared', '-fPIC', "-I$include", "$library.c", '-o', "$library.so");

my $node = durable_node('crash', conf => 'durable.max_activity_deliveries = 3');
$node->safe_psql(
	'postgres', qq(CREATE FUNCTION crash(signal int) RETURNS int LANGUAGE c STRICT AS '$library', 'crash';) . q(
	CREATE FUNCTION crash_in_activity(signal int) RETURNS jsonb LANGUAGE plpgsql AS
		$$ BEGIN RETURN durable.call_activity('crash', to_jsonb(signal)); END $$;
	CREATE FUNCTION crash_caught(signal int) RETURNS text LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM durable.call_activity('crash', to_jsonb(signal));
		RETURN 'not reached';
	EXCEPTION WHEN SQLSTATE 'OD007' THEN
		RETURN durable.call_activity('effect', '1')::text || ' after ' || SQLERRM;
	END
	$$;
	CREATE FUNCTION crash_in_queue(signal int) RETURNS jsonb LANGUAGE plpgsql AS
		$$ BEGIN RETURN to_jsonb(durable.when_all(durable.schedule_activity('effect', '1'), durable.schedule_activity('crash', to_jsonb(signal)),
		                                          durable.schedule_activity('effect', '2'))); END $$;
	CREATE FUNCTION leave() RETURNS void LANGUAGE sql AS 'SELECT pg_terminate_backend(pg_backend_pid()), pg_sleep(60)';
	CREATE FUNCTION leave_in_activity() RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RETURN durable.call_activity('leave'); END $$;
	CREATE TABLE effects (instance_id text, task_id int, UNIQUE (instance_id, task_id));
	CREATE FUNCTION effect(n int) RETURNS int LANGUAGE sql AS
		'INSERT INTO effects VALUES (durable.instance_id(), durable.task_id()) RETURNING n';
	CREATE FUNCTION fine(steps int) RETURNS bigint LANGUAGE plpgsql AS $$
	DECLARE
		total bigint := 0;
	BEGIN
		FOR i IN 1 .. steps LOOP
			total := total + durable.call_activity('effect', to_jsonb(i))::bigint;
			PERFORM durable.sleep('50 ms');
		END LOOP;
		RETURN total;
	END
	$$;));

# Each way to go: kill -9, a NULL pointer in C, an orderly exit in the middle of an activity.
my %cases = (
	'activity by SIGKILL' => [ 'crash_in_activity', 9, 'activity "crash" was lost: 3 workers died while running it' ],
	'activity by NULL pointer' => [ 'crash_in_activity', 0, 'activity "crash" was lost: 3 workers died while running it' ],
	'activity in the queue' => [ 'crash_in_queue', 9, 'activity "crash" was lost: 3 workers died while running it' ],
	'orchestrator' => [ 'crash', 9, 'orchestrator crash was lost: 3 workers died while running it' ],
	# Here other workers may take it before the end of the last one is counted.
	'activity by pg_terminate_backend' => [ 'leave_in_activity', undef, 'activity "leave" was lost: at least 3 workers died while running it' ]);
my $expected = 0;
foreach my $case (sort keys %cases)
{
	my ($function, $signal, $message) = @{ $cases{$case} };
	my $input = defined $signal ? "'$signal'" : 'NULL';
	(my $id = $case) =~ s/ /-/g;

	$node->safe_psql('postgres',
		"SELECT durable.start_new('fine', '10', instance_id => '$id-beside-' || i) FROM generate_series(1, 10) i;
		 SELECT durable.start_new('$function', $input, instance_id => '$id')");
	my $text = "(failure->>'message')";
	$text = "regexp_replace($text, '([3-9]|\\d\\d) workers', 'at least 3 workers')" unless defined $signal;
	poll_until($node, "SELECT runtime_status::text || ' ' || (failure->>'sqlstate') || ' ' || $text FROM durable.get_status('$id')",
		"$case: it fails with OD007 after 3 attempts", "Failed OD007 $message");
	is(crashes(), $expected += defined $signal ? 3 : 0, "$case: the server went down no more often than it had to")
	  or note(join '', grep { /terminated|could not|ERROR|FATAL/ } split /^/m, slurp_file($node->logfile));
	poll_until($node, "SELECT count(*) = 10 FROM durable.instances WHERE instance_id LIKE '$id-beside-%' AND runtime_status = 'Completed' AND output = '55'",
		"$case: the others complete");
}
is($node->safe_psql('postgres', q(SELECT failure ? 'hint', failure->>'activity', failure->>'task_id' FROM durable.get_status('activity-by-SIGKILL'))),
	't|crash|1', 'the failure names the activity');

# The orchestrator can deal with it.
$node->safe_psql('postgres', q(SELECT durable.start_new('crash_caught', '9', instance_id => 'caught')));
poll_until($node, q(SELECT runtime_status = 'Completed' AND output = '"1 after activity \"crash\" was lost: 3 workers died while running it"' FROM durable.get_status('caught')),
	'the orchestrator can catch it and go on');

is( $node->safe_psql('postgres',
		q(SELECT count(*) FILTER (WHERE e.task_id IS NULL), count(*) FILTER (WHERE h.task_id IS NULL), count(*) > 0
		    FROM (SELECT instance_id, task_id FROM durable.history WHERE event_type = 'TaskCompleted') h
		    FULL JOIN effects e ON e.instance_id = h.instance_id AND e.task_id = h.task_id)),
	'0|0|t', 'the effects are those of the activities that completed');
is($node->safe_psql('postgres', 'SELECT * FROM durable_internal.violations'), '', 'no violations');
$node->stop;
my $log = slurp_file($node->logfile);
unlike($log, qr/PANIC|TRAP:/, 'no panic and no failed assertion');
done_testing();

# How often a process crashed so far.
sub crashes
{
	my $count = () = slurp_file($node->logfile) =~ /was terminated by signal/g;
	return $count;
}
