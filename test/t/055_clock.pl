# The clock is set forward and back under a running engine: timers fire when the clock says so, and nothing stops.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use DurableTest;
use FindBin;

my $dir = PostgreSQL::Test::Utils::tempdir();
my $clock = "$dir/clock";
my $library = "$dir/clock.so";
system('gcc', '-shared', '-fPIC', '-o', $library, "$FindBin::Bin/../lib/clock.c") == 0
  or plan skip_all => 'no compiler';

# Sets the server's clock to so many seconds after the true time.
sub set_clock
{
	my ($offset) = @_;

	open my $file, (-e $clock ? '+<' : '>'), $clock or die "$clock: $!";
	syswrite $file, pack('q', $offset);
	close $file;
	return;
}

set_clock(0);
my $node = durable_node('clock', start => 0, conf => "durable.poll_interval = '200ms'\n");
{
	local $ENV{LD_PRELOAD} = $library;
	local $ENV{DURABLE_CLOCK} = $clock;
	$node->start;
}
$node->safe_psql('postgres', 'CREATE EXTENSION durable');
$node->safe_psql('postgres', q[
CREATE FUNCTION nap(delay interval) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	start timestamptz := durable.now();
BEGIN
	PERFORM durable.sleep(delay);
	RETURN CASE WHEN durable.now() >= start + delay THEN 'late enough' ELSE 'too early' END;
END $$;
CREATE FUNCTION hello() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	before timestamptz := durable.now();
BEGIN
	PERFORM durable.call_activity('world');
	PERFORM durable.wait_for_external_event('go');
	PERFORM durable.call_activity('world');
	RETURN CASE WHEN durable.now() >= before THEN 'never back' ELSE 'back' END;
END $$;
CREATE FUNCTION world() RETURNS int LANGUAGE sql AS 'SELECT 1';
]);

# How far the server's clock is from the true time.
sub server_offset
{
	return $node->safe_psql('postgres', 'SELECT extract(epoch FROM clock_timestamp()) - ' . time);
}

sub completes
{
	my ($id, $output, $what) = @_;

	poll_until($node, "SELECT runtime_status || ' ' || coalesce(output::text, '') FROM durable.get_status('$id')",
		$what, "Completed \"$output\"");
	return;
}

cmp_ok(abs(server_offset()), '<', 60, 'the clock is right at first');
$node->safe_psql('postgres', "SELECT durable.start_new('nap', to_jsonb('2 hours'::interval), 'forward'), durable.start_new('hello', NULL, 'hello-1')");
poll_until($node, "SELECT count(*) = 1 FROM durable.timers", 'a timer of two hours is set');

set_clock(3 * 3600);
cmp_ok(server_offset(), '>', 3 * 3600 - 60, 'the clock is set three hours forward');
completes('forward', 'late enough', 'the timer fires');
$node->safe_psql('postgres', "SELECT durable.start_new('hello', NULL, 'hello-2')");
poll_until($node, "SELECT count(*) = 2 FROM durable.history WHERE event_type = 'TaskCompleted'", 'activities run');

set_clock(0);
cmp_ok(server_offset(), '<', 60, 'the clock is set back');
$node->safe_psql('postgres', "SELECT durable.start_new('nap', to_jsonb('300 ms'::interval), 'back'), durable.start_new('hello', NULL, 'hello-3')");
completes('back', 'late enough', 'a timer that was set afterwards fires in its time');
$node->safe_psql('postgres', "SELECT durable.raise_event('hello-' || i, 'go') FROM generate_series(1, 3) i");
completes("hello-$_", 'never back', "what went on before and after, $_") for 1 .. 3;

# Without wake-ups, polling alone must go on after the clock was set back.
set_clock(3 * 3600);
$node->safe_psql('postgres', "SELECT durable.start_new('nap', to_jsonb('1 ms'::interval), 'far')");
completes('far', 'late enough', 'a timer fires ahead');
$node->append_conf('postgresql.conf', "durable.wakeups = off\n");
$node->reload;
poll_until($node, "SHOW durable.wakeups", 'wake-ups are off', 'off');
set_clock(0);
$node->safe_psql('postgres', "SELECT durable.start_new('nap', to_jsonb('10 ms'::interval), 'polled')");
completes('polled', 'late enough', 'polling goes on after the clock was set back');

is($node->safe_psql('postgres', 'SELECT count(*) FROM durable_internal.violations'), '0', 'no invariant is broken');
$node->stop;
done_testing();
