# What dead workers were running is counted once, whoever holds the row at the time, and not at all in a copy of the server.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use DurableTest;

my $node = durable_node('notes', init => [ allows_streaming => 1 ], conf => "durable.max_activity_deliveries = 1\ndurable.poll_interval = 1h");
$node->safe_psql('postgres', q[
CREATE FUNCTION held() RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock_shared(1); END $$;
CREATE FUNCTION in_turn() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN 1; END $$;
CREATE FUNCTION in_activity() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM durable.call_activity('held'); RETURN 1; END $$;
CREATE FUNCTION sleeps() RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(100000); END $$;
CREATE FUNCTION long() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM durable.call_activity('sleeps'); RETURN 1; END $$;
]);
# it runs alone, as it waits for a lock
my $waits = q[SELECT count(*) = 1 FROM pg_locks l JOIN durable.workers w USING (pid) WHERE l.locktype = 'advisory' AND NOT l.granted AND w.place = 'long'];
my %rows = (
	in_turn => q[SELECT durable.start_new('in_turn', instance_id => 'in_turn', dedupe_statuses => '{}')],
	in_activity => q[SELECT t.key FROM durable_internal.tasks t FOR UPDATE]);

# The scheduler tells the instance, whoever has its row, and looks in vain for that of a queued activity.
my %looked = (
	in_turn => q[SELECT count(*) = 1 FROM durable_internal.messages],
	in_activity => q[SELECT state = 'idle' AND state_change > (SELECT state_change + interval '100 ms' FROM pg_stat_activity WHERE state = 'idle in transaction') FROM pg_stat_activity WHERE backend_type = 'durable scheduler']);

# A client gets the row as soon as the worker is dead, before the scheduler, and keeps it for a while.
foreach my $function (sort keys %rows)
{
	my $holder = $node->background_psql('postgres');
	$holder->query_safe('SELECT pg_advisory_lock(1)');
	$node->safe_psql('postgres', "SELECT durable.start_new('$function', instance_id => '$function')");
	poll_until($node, $waits, "$function: a worker runs it");
	my $run = { in => "BEGIN;\n$rows{$function};\n", out => '', err => '' };
	$run->{handle} = IPC::Run::start([ 'psql', '-XAtq', $node->connstr('postgres') ], '<', \$run->{in}, '>', \$run->{out}, '2>', \$run->{err});
	$run->{handle}->pump_nb;
	poll_until($node, qq[SELECT count(*) = 1 FROM pg_stat_activity WHERE query = \$\$$rows{$function};\$\$ AND wait_event_type = 'Lock'], "$function: a client waits for the row");
	my $scheduler = $node->safe_psql('postgres', q[SELECT pid FROM pg_stat_activity WHERE backend_type = 'durable scheduler']);
	kill 'STOP', $scheduler;
	$node->safe_psql('postgres', q[SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'durable worker']);
	poll_until($node, qq[SELECT count(*) = 1 FROM pg_stat_activity WHERE query = \$\$$rows{$function};\$\$ AND state = 'idle in transaction'], "$function: the client has it");
	kill 'CONT', $scheduler;
	poll_until($node, $looked{$function}, "$function: the scheduler has looked");
	$run->{in} .= "ROLLBACK;\n\\q\n";
	$run->{handle}->finish;
	poll_until($node, "SELECT runtime_status = 'Failed' AND failure ->> 'sqlstate' = 'OD007' FROM durable.get_status('$function')", "$function: the death is counted");
	$holder->query_safe('SELECT pg_advisory_unlock(1)');
	$holder->quit;
}

# A copy of the server, made while a worker runs something: nothing has died of it.
$node->safe_psql('postgres', q[ALTER SYSTEM SET durable.max_activity_deliveries = 5]);
$node->reload;
$node->safe_psql('postgres', q[SELECT durable.start_new('long', instance_id => 'long')]);
my $running = q[SELECT deliveries FROM durable.activities WHERE instance_id = 'long' AND pid IS NOT NULL];
poll_until($node, $running, 'an activity runs', '0');
$node->backup('backup');
my $restored = PostgreSQL::Test::Cluster->new('restored');
$restored->init_from_backup($node, 'backup');
$restored->start;
poll_until($restored, $running, 'in a server restored from a base backup no death is counted', '0');
$restored->stop;
# the same when the files are copied as they are after the machine has died, which takes the worker with it
my ($postmaster) = split /\n/, slurp_file($node->data_dir . '/postmaster.pid');
my $worker = $node->safe_psql('postgres', q[SELECT pid FROM durable.activities WHERE instance_id = 'long']);
kill 'STOP', $worker;
$node->kill9;
kill 'KILL', $worker;
await_death();
$node->backup_fs_cold('cold');
my $copy = PostgreSQL::Test::Cluster->new('copy');
$copy->init_from_backup($node, 'cold');
$copy->start;
poll_until($copy, $running, 'nor in a copy of the files', '0');
$copy->stop;
$node->start;
poll_until($node, $running, 'in the server itself it is', '1');
$node->stop;
done_testing();

# Waits until the last process of the dead server has gone, and the dead one itself.
sub await_death
{
	my $data = $node->data_dir;
	foreach (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		return unless kill(0, $postmaster) || grep { (readlink($_) // '') eq $data } glob('/proc/[0-9]*/cwd');
		select(undef, undef, undef, 0.1);
	}
	return;
}
