# The HTTP gateway puts starts that wait for a connection into one transaction: one that cannot be started, or that has to wait
# for a lock, must not be felt by the others.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use DurableTest;
use lib 'test/gateway';
use DurableGateway;

plan skip_all => 'the gateway is not built' unless -x gateway_program();

my $node = durable_node('gateway_batch', conf => "durable.databases = 'nowhere'");
$node->safe_psql('postgres', q(
CREATE FUNCTION nothing() RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION echo(input jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT input';
));
my $base = $DurableGateway::base;
my $gateway = gateway_start($node, args => [ '--connections', 2 ]);

# A session that has started these ids and not yet committed, so that another start of one of them waits for it.
sub hold
{
	my (@ids) = @_;
	my $psql = $node->background_psql('postgres');
	$psql->query_safe('BEGIN; ' . join(' ', map { "SELECT durable.start_new('nothing', instance_id => '$_');" } @ids));
	return $psql;
}

# Its transaction ends.
sub release
{
	my ($psql, $how) = @_;
	$psql->query_safe($how);
	$psql->quit;
}

# Sends a start and goes on; returns the socket.
sub start
{
	my ($path, $body) = @_;
	my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $gateway->{port}) or die "connect: $!";
	$body //= '';
	syswrite($socket, "POST $base/orchestrators/$path HTTP/1.1\r\nHost: localhost\r\nContent-Length: " . length($body) . "\r\n\r\n$body");
	return $socket;
}

# Occupies both connections with starts that wait for a session, then sends more, pairs of path and body, which queue up; when
# that session rolls back they are taken from the queue. Returns the sockets of all.
sub queue
{
	my ($round, @starts) = @_;
	my $holder = hold("$round-a", "$round-b");
	my @sockets = map { start("nothing/$round-$_") } qw(a b);
	poll_until($node, q(SELECT count(*) = 2 FROM pg_stat_activity WHERE application_name = 'durable-gateway' AND wait_event_type = 'Lock'),
		"$round: both connections are busy");
	push @sockets, map { start(@$_) } @starts;
	# what came before an answer that needs no database has been taken in
	is($gateway->call('GET', '/nowhere')->{status}, 404, "$round: the others queue up") for 1 .. 2;
	release($holder, 'ROLLBACK');
	return @sockets;
}

sub codes
{
	return [ map { DurableGateway::answer_one($_) =~ /^HTTP\/1\.1 (\d+)/ ? $1 : 'none' } @_ ];
}

# Instances and transactions that have made them.
sub transactions
{
	my ($prefix) = @_;
	return $node->safe_psql('postgres',
		"SELECT count(*), count(DISTINCT xmin::text) FROM durable_internal.instances WHERE instance_id LIKE '$prefix%'");
}

# All go well, whatever their ids and inputs are.
my @inputs = ('', 'null', '"NULL"', '"null"', '"a\\"b\\\\c"', '{"a": [1.10, {"b": "}{,"}]}', '"\u00e4\n"', "\"\xc3\xa4\"", '{}', '[]', ' 1 ', '""');
my @ids = ('x{1}', 'x,2', 'x"3"', "x'4'", 'x 5 ', 'xNULL', 'x$1');
my @sockets = queue('good', (map { [ "echo/good-i$_", $inputs[$_] ] } 0 .. $#inputs),
	(map { [ 'nothing/good-' . s/([^a-z0-9])/sprintf '%%%02X', ord $1/gier ] } @ids), [ 'nothing/good-v?version=%7B%22' ],
	[ 'echo/good-big', '"' . 'x' x 70000 . '"' ]);
my $number = @sockets;
is_deeply(codes(@sockets), [ (202) x $number ], 'all are started');
is(transactions('good-'), "$number|4", '... in one transaction, but for the two that had gone ahead and the big one');
foreach my $i (0 .. $#inputs)
{
	my $json = $inputs[$i] eq '' ? 'NULL::jsonb' : "'$inputs[$i]'::jsonb";
	is($node->safe_psql('postgres', "SELECT coalesce(input, 'null') = coalesce($json, 'null') FROM durable.instances WHERE instance_id = 'good-i$i'"),
		't', "input $inputs[$i]");
}
foreach my $id (@ids)
{
	is($node->safe_psql('postgres', "SELECT count(*) FROM durable.instances WHERE instance_id = \$id\$good-$id\$id\$"), '1', "id $id");
}
is($node->safe_psql('postgres', q(SELECT version FROM durable.instances WHERE instance_id = 'good-v')), '{"', 'version');

# Each gets the answer that is its own.
@sockets = queue('mixed', (map { ["nothing/mixed-$_"] } 1 .. 3), ['no_such_function/mixed-4'], ['nothing/mixed-5'], ['nothing/mixed-5'],
	['nothing/good-v'], ['nothing/good-v?onDuplicate=ignore'], ['echo/mixed-6', '["\u0000"]'], ['nothing/mixed-7']);
my @codes = @{ codes(@sockets) };
is_deeply([ sort @codes[ 6, 7 ] ], [ 202, 409 ], 'of two with one id one is started');
splice(@codes, 6, 2);
is_deeply(\@codes, [ (202) x 5, 400, 409, 202, 400, 202 ], '... and the others have theirs: bad ones 400, taken ids 409 unless ignored');

# One that has to wait for somebody else's transaction makes nobody else wait.
is($gateway->stop, '0', 'exit 0');
$gateway = gateway_start($node, args => [ '--connections', 2 ]);
my $holder = hold('other');
@sockets = queue('wait', ['nothing/wait-1'], ['nothing/other'], ['nothing/wait-2']);
is_deeply(codes(@sockets[ 0 .. 2, 4 ]), [ 202, 202, 202, 202 ], 'the others are started');
release($holder, 'COMMIT');
is_deeply(codes($sockets[3]), [409], 'and it has the answer of its own');
is($gateway->stop, '0', 'exit 0');
done_testing();
