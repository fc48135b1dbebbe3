# What the engine costs when it has nothing to do, and that a batch of work is done in a time that no stall explains.
# These are bounds that only a defect breaks; the figures themselves are the benchmarks'.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use POSIX ();
use Time::HiRes qw(time sleep);
use Test::More;
use DurableTest;

my $node = durable_node('figures', conf => 'log_statement = none');

$node->safe_psql(
	'postgres', q(
	CREATE FUNCTION say(name text) RETURNS text LANGUAGE sql AS $$ SELECT 'Hello ' || name || '!' $$;
	CREATE FUNCTION hello() RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		RETURN jsonb_build_array(durable.call_activity('say', '"Tokyo"'), durable.call_activity('say', '"Seattle"'),
		                         durable.call_activity('say', '"London"'));
	END
	$$;
	CREATE FUNCTION sleeper() RETURNS text LANGUAGE plpgsql AS
		$$ BEGIN PERFORM durable.sleep('30 days'); RETURN 'woken'; END $$;));

# The CPU time in seconds that the engine's processes have used so far.
sub cpu
{
	my $ticks = 0;
	foreach my $pid (split /\n/, $node->safe_psql('postgres', q(SELECT pid FROM pg_stat_activity WHERE backend_type LIKE 'durable%')))
	{
		# the name in parentheses may contain anything; after it come the state and, as the 12th and 13th, utime and stime
		my @fields = split / /, (slurp_file("/proc/$pid/stat") =~ s/^.*\) //sr);
		$ticks += $fields[11] + $fields[12];
	}
	return $ticks / POSIX::sysconf(POSIX::_SC_CLK_TCK());
}

# hello from start to end, one at a time: not waiting for a poll or a timer.
my @times;
foreach (1 .. 20)
{
	my $ms = $node->safe_psql(
		'postgres', q(
		SELECT durable.start_new('hello') AS id, clock_timestamp() AS started \gset
		SELECT (durable.wait_for_completion(:'id', '1 min')).runtime_status IS NOT NULL AS ended \gset
		SELECT 1000 * extract(epoch FROM clock_timestamp() - :'started')));
	push @times, $ms;
}
my $median = (sort { $a <=> $b } @times)[10];
note("median of hello: $median ms");
cmp_ok($median, '<', 100 * seconds_bar($node), 'hello takes no longer than its steps do');

# Many at once.
my $before = time;
$node->safe_psql('postgres', q(SELECT count(durable.start_new('hello')) FROM generate_series(1, 1000)));
poll_until($node, q(SELECT NOT EXISTS (SELECT FROM durable.instances WHERE runtime_status IN ('Pending', 'Running'))), '1,000 instances complete');
my $seconds = time - $before;
note("1,000 instances of hello: $seconds s");
cmp_ok($seconds, '<', 30, 'in a time that only a stall would exceed');
is($node->safe_psql('postgres', q(SELECT DISTINCT runtime_status, output FROM durable.instances)),
	'Completed|["Hello Tokyo!", "Hello Seattle!", "Hello London!"]', 'all well');

# 10,000 instances asleep.  The poll that is only a safety net is part of the cost.
$node->safe_psql('postgres', q(SELECT count(durable.start_new('sleeper')) FROM generate_series(1, 10000)));
poll_until($node, q(SELECT count(*) = 10000 FROM durable.timers), '10,000 instances sleep');
poll_until($node, q(SELECT bool_and(state = 'idle') FROM pg_stat_activity WHERE backend_type LIKE 'durable%'), 'the engine is idle');
my $window = 10;
my $used = cpu();
$before = time;
sleep($window);
$used = cpu() - $used;
my $share = 100 * $used / (time - $before);
note("CPU of the idle engine: $share %");
cmp_ok($share, '<', 1, '10,000 sleeping instances cost less than 1 % of a CPU');
is($node->safe_psql('postgres', 'SELECT * FROM durable_internal.violations LIMIT 1'), '', 'no violations');

$node->stop;
unlike(slurp_file($node->logfile), qr/PANIC|TRAP:|was terminated by signal/, 'nothing crashed');
done_testing();
