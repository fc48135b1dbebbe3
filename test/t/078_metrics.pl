# /metrics with a million instances, and with a database that is locked, slow or away: never longer than a second, counts with
# their age or none, and what waits is seen.
use strict;
use warnings;
use lib 'test/gateway';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);
use DurableTest;
use DurableGateway;

plan skip_all => 'durable-gateway is not built' unless -x gateway_program();

my $node = durable_node('metrics', conf => q(
autovacuum = off
fsync = off
max_wal_size = 4GB
log_statement = none
durable.poll_interval = 200ms
));
my $million = 1_000_000;
$node->safe_psql('postgres', q[
CREATE ROLE regress_metrics LOGIN;
GRANT pg_monitor TO regress_metrics;
SELECT durable.grant_usage('regress_metrics');
CREATE FUNCTION nothing() RETURNS void LANGUAGE sql AS '';
CREATE TABLE locked ();
CREATE FUNCTION locks() RETURNS void LANGUAGE sql AS 'INSERT INTO public.locked DEFAULT VALUES';
CREATE FUNCTION runs_into() RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RETURN durable.call_activity('locks'); END $$;
SELECT durable.start_new('nothing', instance_id => 'pattern');
-- Copies of an instance.
CREATE PROCEDURE fill(first int, last int, state "char", owner regrole, name text) LANGUAGE sql AS $$
	INSERT INTO durable_internal.instances
	SELECT -i, 'copy-' || i, execution_id, $3, durable_internal.owner_of($4), $5, function, version, search_path, tags, created_time, last_updated_time,
		CASE WHEN $3 IN ('C', 'F') THEN completed_time END, scheduled_start_time, CASE WHEN $3 <> 'R' THEN started_time END,
		parent_key, parent_task, first_seq, last_seq, turn_seq, first_task, awaiting, deliveries, custom_status
	FROM durable_internal.instances p, generate_series($1, $2) i WHERE instance_id = 'pattern'
$$;
]);
poll_until($node, q[SELECT runtime_status = 'Completed' FROM durable.get_status('pattern')], 'an instance has ended');

sub start
{
	return gateway_start($node, dbname => $node->connstr('postgres') . ' user=regress_metrics', plain => 1, args => [@_]);
}

# A scrape, which takes less than a second: its text, and the sum of the values of a metric, undef if it has none.
my $longest = 0;

sub scrape
{
	my ($gateway) = @_;
	my $began = time;
	my $response = $gateway->call('GET', '/metrics');
	my $took = time - $began;
	$longest = $took if $took > $longest;
	return $response->{status} == 200 ? $response->{content} : "status $response->{status}";
}

# A second, and more on a busy machine.
sub second
{
	return seconds_bar($node) / 2;
}

sub value
{
	my ($text, $metric) = @_;
	my @values = $text =~ /^\Q$metric\E(?:\{[^\n]*?\})? ([\d.]+)$/mg;
	my $sum = 0;
	$sum += $_ foreach @values;
	return @values ? $sum : undef;
}

# Scrapes until a condition holds; the last text.
sub scrape_until
{
	my ($gateway, $what, $condition) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $text;
	for (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		$text = scrape($gateway);
		return (pass($what), $text)[1] if $condition->($text);
		sleep(0.1);
	}
	fail($what);
	diag($text);
	return $text;
}

# A small database: the first scrape has everything.
my $gateway = start('--metrics-interval', 0, '--statement-timeout', 2, '--connections', 2);
my $text = scrape($gateway);
is(value($text, 'durable_up'), 1, 'the engine is up');
is(value($text, 'durable_instances'), 1, 'a small database is counted for the first scrape');
like($text, qr/^durable_counts_age_seconds\{counts="$_"\} 0\.\d+$/m, "the age of the counts: $_") foreach qw(ready open instances);
like($text, qr/^durable_workers\{state="\w+"\} \d+$/m, 'workers');
like($text, qr/^durable_turns_total\{role="\w+"\} [1-9]/m, 'counters');
is(value($text, 'durable_ready_instances'), 0, 'nothing is ready');
# times that no timer can be made with, but a restore may bring
$node->safe_psql('postgres', q[INSERT INTO durable_internal.timers (key, task_id, fire_at)
	SELECT key, task_id, 'infinity' FROM durable_internal.instances, generate_series(1, 2) task_id WHERE instance_id = 'pattern']);
$text = scrape_until($gateway, 'infinite times do not matter', sub { (value($_[0], 'durable_timers') // 0) == 2 });
is(value($text, 'durable_timers_late_seconds'), 0, 'and are not late');
$node->safe_psql('postgres', 'DELETE FROM durable_internal.timers');
is($gateway->stop, '0', 'exit 0');

# A million, which takes some time to count, and none of a scrape's.
$node->safe_psql('postgres', "CALL fill(1, $million, 'C', current_user::regrole, 'nothing')");
$gateway = start('--metrics-interval', 0, '--connections', 2);
$text = scrape($gateway);
cmp_ok($longest, '<', second(), 'the first scrape takes less than a second');
is(value($text, 'durable_up'), 1, '... and has the counters');
like($text, qr/^durable_turns_total/m, '... all of them');
scrape_until($gateway, 'a later one has all instances', sub { (value($_[0], 'durable_instances') // 0) == $million + 1 });
cmp_ok($longest, '<', second(), 'none takes longer');

is($gateway->stop, '0', 'exit 0');

# Names are the users': their series are bounded in number and in length, and the sums stay right.
$node->safe_psql('postgres', q[
DELETE FROM durable_internal.instances WHERE key < -10;
CREATE PROCEDURE fill_names() LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. 300 LOOP
		CALL fill(2000000 + i, 2000000 + i, (CASE WHEN i % 3 = 0 THEN 'F' ELSE 'C' END)::"char", current_user::regrole, repeat(E'\n', i) || 'nothing');
	END LOOP;
	FOR i IN 1 .. 20 LOOP
		CALL fill(2001000 + i, 2001000 + i, 'C', current_user::regrole, repeat('é"', 8000) || i);
	END LOOP;
	CALL fill(2002001, 2002007, 'C', current_user::regrole, '(others)');
END $$;
CALL fill_names();
]);
$gateway = start('--metrics-interval', 0, '--connections', 2);
$text = scrape_until($gateway, 'all instances are counted', sub { (value($_[0], 'durable_instances') // 0) == 338 });
my %instances = $text =~ /^durable_instances(\{[^\n]*\}) (\d+)$/mg;
my %names = map { /name="((?:[^"\\]|\\.)*)"/ => 1 } keys %instances;
is(keys %names, 100, 'a hundred names, of which one is that of the others');
is(scalar(() = $text =~ /^durable_instances\{/mg), keys %instances, 'no series comes twice');
is($instances{'{name="nothing",status="Completed"}'}, 11, 'a name that many instances have');
is($instances{'{name="' . 'é\\"' x 63 . 'é",status="Completed"}'}, 20, 'long names are cut, and count together');
my @others = map { $instances{qq({name="(others)",status="$_"})} // 0 } qw(Completed Failed);
is($others[0] + $others[1], 30 + 7, 'the others count together, with those that have that name');
cmp_ok($others[1], '>', 0, '... by status');
cmp_ok(length $text, '<', 100_000, 'a scrape has a bounded length');
is($gateway->stop, '0', 'exit 0');

# A lock on what is counted: the last counts stay and become old, and all connections that requests have are busy with it.
$node->safe_psql('postgres', q[DELETE FROM durable_internal.instances WHERE key < -10]);
$gateway = start('--metrics-interval', 0, '--statement-timeout', 1, '--connections', 2);
scrape_until($gateway, 'counts are there', sub { (value($_[0], 'durable_instances') // 0) == 11 });
poll_until($node, q[SELECT count(*) = 0 FROM durable.workers WHERE state <> 'idle'], 'the engine rests');
my $locker = $node->background_psql('postgres');
$locker->query_safe('BEGIN; LOCK TABLE durable_internal.instances IN ACCESS EXCLUSIVE MODE');
my @clients;
foreach my $number (1, 2)
{
	my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $gateway->{port}) or die;
	syswrite($socket, "GET $DurableGateway::base/instances/pattern?number=$number HTTP/1.1\r\nHost: 127.0.0.1:$gateway->{port}\r\n\r\n");
	push @clients, $socket;
}
scrape_until($gateway, 'all connections wait for a lock', sub { value($_[0], 'durable_gateway_database_busy') == 2 });
$text = scrape_until($gateway, 'counts that cannot be had become old',
	sub { $_[0] =~ /^durable_counts_age_seconds\{counts="instances"\} (\S+)$/m && $1 > 3 });
is(value($text, 'durable_instances'), 11, '... and stay what they were');
is(value($text, 'durable_up'), 1, '... while the counters go on');
my $fresh = start('--metrics-interval', 0, '--statement-timeout', 1, '--connections', 1);
$text = scrape($fresh);
is(value($text, 'durable_instances'), undef, 'what has never been counted is left out');
unlike($text, qr/counts="instances"/, '... with its age');
is(value($text, 'durable_up'), 1, '... and the counters are there');
$locker->query_safe('ROLLBACK');
scrape_until($fresh, '... until it is counted', sub { (value($_[0], 'durable_instances') // 0) == 11 });
is($fresh->stop, '0', 'exit 0');
@clients = ();

# A worker that waits for a lock, with nothing else to do, is a wait.
$locker->query_safe('BEGIN; LOCK TABLE locked IN ACCESS EXCLUSIVE MODE');
is(value(scrape($gateway), 'durable_waiting_seconds'), 0, 'nothing waits');
$node->safe_psql('postgres', q[SELECT durable.start_new('runs_into', instance_id => 'locked')]);
scrape_until($gateway, 'durable_waiting_seconds sees a wait for a lock', sub { value($_[0], 'durable_waiting_seconds') > 1 });
$locker->query_safe('ROLLBACK');
poll_until($node, q[SELECT runtime_status FROM durable.get_status('locked')], 'it goes on', 'Completed');
scrape_until($gateway, 'and that it is over', sub { value($_[0], 'durable_waiting_seconds') == 0 });
$locker->quit;

# A database that does not answer.
my @backends = split /\n/, $node->safe_psql('postgres', q[SELECT pid FROM pg_stat_activity WHERE application_name = 'durable-gateway']);
cmp_ok(@backends, '>=', 3, 'the gateway is connected');
kill('STOP', @backends);
$text = scrape($gateway);
is(value($text, 'durable_up'), 0, 'a database that does not answer is not up');
cmp_ok(value($text, 'durable_instances'), '>=', 11, '... and what was counted is there');
is(value($text, 'durable_turns_total'), undef, '... but not the counters, of which nobody knows how old they are');
kill('CONT', @backends);
scrape_until($gateway, 'when it answers it is up', sub { value($_[0], 'durable_up') == 1 });

# None at all.
$node->stop('fast');
$text = scrape_until($gateway, 'the database is away', sub { value($_[0], 'durable_gateway_database_up') == 0 });
is(value($text, 'durable_up'), 0, 'it is not up');
cmp_ok(value($text, 'durable_instances'), '>=', 11, '... and what was counted is there');
$node->start;
scrape_until($gateway, 'it is back', sub { value($_[0], 'durable_up') == 1 && $_[0] =~ /^durable_counts_age_seconds\{counts="instances"\} 0\./m });

# More that is ready than the engine's lists in shared memory hold, in either way.
$node->safe_psql('postgres', q[
CREATE ROLE regress_backlog NOLOGIN;
CALL fill(1000001, 1070000, 'R', 'regress_backlog', 'backlog');
CALL fill(1070001, 1110000, 'W', 'regress_backlog', 'backlog');
INSERT INTO durable_internal.messages (key, id, kind, time) SELECT -i, i, 2, now() FROM generate_series(1070001, 1110000) i;
ANALYZE durable_internal.instances, durable_internal.messages;
]);
# nobody tells an engine that is away of rows that are inserted like this, so something else wakes it
$node->safe_psql('postgres', q[SELECT durable.start_new('runs_into')]);
poll_until($node, q[SELECT ready_instances FROM durable.stats WHERE role = 'regress_backlog'::regrole], 'durable.stats knows all that is ready', 110000);
scrape_until($gateway, 'and so do the metrics', sub { $_[0] =~ /^durable_ready_instances\{role="regress_backlog"\} 110000$/m });
is($gateway->stop, '0', 'exit 0');
cmp_ok($longest, '<', second(), 'no scrape has taken a second');
done_testing();
