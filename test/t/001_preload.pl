# A server that does not preload the library: client functions say what to add, and nothing else breaks.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use DurableTest;

my $node = durable_node('preload', conf => "shared_preload_libraries = ''");
$node->safe_psql('postgres', q(CREATE FUNCTION answer() RETURNS int LANGUAGE sql AS 'SELECT 42'));

my ($rc, $out, $err) = $node->psql('postgres', q(SELECT durable.start_new('answer')));
isnt($rc, 0, 'start_new fails');
like($err, qr/shared_preload_libraries.*durable/s, 'and says what to add');

$node->append_conf('postgresql.conf', "shared_preload_libraries = 'durable'");
$node->restart;
$node->safe_psql('postgres', q(SELECT durable.start_new('answer', instance_id => 'a')));
poll_until($node, q(SELECT runtime_status = 'Completed' AND output = '42' FROM durable.get_status('a')),
	'once it is added, an orchestration completes');

done_testing();
