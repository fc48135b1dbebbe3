# Activities that are cancelled with their instances, thousands of them, beside instances of the same role: an interrupt that
# comes late, when its worker has gone on to something of another instance, must not be the failure of that.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use DurableTest;

my $count = $ENV{DURABLE_CANCELS} // 400;
my $node = durable_node('cancel', conf => "durable.max_workers = 4\ndurable.max_activity_deliveries = 1000");

$node->safe_psql('postgres', q[
CREATE FUNCTION short(seconds float8) RETURNS void LANGUAGE sql AS 'SELECT pg_sleep(seconds)';
CREATE FUNCTION victim() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM durable.when_all(VARIADIC ARRAY(SELECT durable.schedule_activity('short', to_jsonb(0.0005 * i)) FROM generate_series(1, 6) i));
	PERFORM durable.sleep('1 hour');
END $$;
CREATE FUNCTION bystander() RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. 3 LOOP
		PERFORM durable.call_activity('short', '0.001');
		PERFORM durable.when_all(durable.schedule_activity('short', '0.001'), durable.schedule_activity('short', '0.001'));
	END LOOP;
	RETURN 9;
END $$;
CREATE PROCEDURE submit(count int) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. count LOOP
		PERFORM durable.start_new('victim', instance_id => 'victim-' || i), durable.start_new('bystander', instance_id => 'bystander-' || i);
		COMMIT;
		IF i > 8 THEN
			PERFORM durable.terminate('victim-' || i - 8, cancel_activities => true);
			COMMIT;
		END IF;
		PERFORM pg_sleep(0.003 * random());
	END LOOP;
	PERFORM durable.terminate('victim-' || i, cancel_activities => true) FROM generate_series(greatest(count - 7, 1), count) i;
END $$;
]);
$node->safe_psql('postgres', "CALL submit($count)");
poll_until($node, q[SELECT count(*) = 0 FROM durable.instances WHERE runtime_status IN ('Pending', 'Running')], 'all end');
is($node->safe_psql('postgres', q[SELECT i.instance_id, i.failure FROM durable.instances i WHERE i.instance_id LIKE 'bystander%' AND i.runtime_status <> 'Completed' LIMIT 3]), '',
	'no instance was interrupted in place of another');
is($node->safe_psql('postgres', q[SELECT DISTINCT runtime_status FROM durable.instances WHERE instance_id LIKE 'victim%']), 'Terminated', 'those that were meant are terminated');
is($node->safe_psql('postgres', 'SELECT count(*) FROM durable_internal.violations'), 0, 'no invariant is broken');

# The same for certain: the request for what another instance ran is there before the call begins, and the signal comes
# during it.  The file is the one that src/blackbox.c maps: a header of 8 bytes and as many notes as there are slots, twice.
$node->safe_psql('postgres', q[
CREATE SEQUENCE calls;
CREATE FUNCTION once_long() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	IF nextval('calls') = 1 THEN PERFORM pg_sleep(600); END IF;
	RETURN 'not interrupted';
END $$;
CREATE FUNCTION call_once_long() RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RETURN durable.call_activity('once_long'); END $$]);
my $file = $node->data_dir . '/durable.blackbox';
my $size = ((-s $file) - 8) / 256;
# Writes into all notes whose call is to be interrupted, and when that was asked for.
sub request
{
	my ($key, $time) = @_;

	open(my $box, '+<', $file) or die "$file: $!";
	binmode $box;
	for my $slot (0 .. 127)
	{
		seek($box, 8 + $slot * $size + 24, 0);
		print $box pack('qq', $key, $time);
	}
	close($box);
	return;
}

# in the future, so that it does not matter how long this takes
request(1, 1 << 61);
$node->safe_psql('postgres', q[SELECT durable.start_new('call_once_long', instance_id => 'late')]);
poll_until($node, q[SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'durable worker' AND wait_event = 'PgSleep'], 'an activity runs');
my $interrupt = q[SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE backend_type = 'durable worker' AND wait_event = 'PgSleep'];
$node->safe_psql('postgres', $interrupt);
poll_until($node, q[SELECT last_value > 1 FROM calls], 'it is run again');
request(0, 0);
poll_until($node, q[SELECT output FROM durable.get_status('late')], 'a late interrupt is not its failure', '"not interrupted"');
$node->safe_psql('postgres', q[SELECT setval('calls', 1, false); SELECT durable.start_new('call_once_long', instance_id => 'meant')]);
poll_until($node, q[SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'durable worker' AND wait_event = 'PgSleep'], 'it runs once more');
$node->safe_psql('postgres', $interrupt);
poll_until($node, q[SELECT failure->>'sqlstate' FROM durable.get_status('meant')], 'one that is meant is', '57014');
$node->stop;
done_testing();
