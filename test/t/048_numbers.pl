# Numbers that are larger than all that is stored, though the clock stands behind; quotas that are exact for more roles than
# shared memory has entries for.
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

$ENV{DURABLE_CLOCK} = $clock;
set_clock(0);
my $node = durable_node('numbers', start => 0);
sub start
{
	local $ENV{LD_PRELOAD} = $library;
	$node->start;
	return;
}
start();
$node->safe_psql('postgres', 'CREATE EXTENSION durable');
$node->safe_psql('postgres', q[
CREATE FUNCTION collects() RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	RETURN durable.wait_for_external_event('e') || durable.wait_for_external_event('e') || durable.wait_for_external_event('e');
END $$;
SELECT durable.start_new('collects', instance_id => 'before'), durable.start_new('collects', instance_id => 'after');
]);
poll_until($node, q[SELECT bool_and(runtime_status = 'Running') FROM durable.instances], 'two instances wait');
$node->append_conf('postgresql.conf', "durable.databases = 'none'");
$node->reload;
poll_until($node, q[SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type IN ('durable scheduler', 'durable worker')], 'the engine is away');
set_clock(86400);
$node->safe_psql('postgres', q[SELECT durable.raise_event(id, 'e', '1') FROM unnest('{before,after}'::text[]) id]);
$node->stop;
set_clock(0);
start();
# before the engine has looked at what is stored
$node->safe_psql('postgres', q[SELECT durable.raise_event('before', 'e', '2')]);
$node->safe_psql('postgres', q[SELECT durable.raise_event('before', 'e', '3')]);
is($node->safe_psql('postgres', q[SELECT string_agg(payload::text, ' ' ORDER BY id) FROM durable_internal.messages WHERE key = (SELECT key FROM durable_internal.instances WHERE instance_id = 'before')]),
	'1 2 3', 'what was sent later is later, although the clock says otherwise');
# and after
$node->stop;
$node->append_conf('postgresql.conf', "durable.databases = ''");
start();
poll_until($node, q[SELECT output = '[1, 2, 3]' FROM durable.get_status('before')], 'the instance takes it in this order');
$node->safe_psql('postgres', q[SELECT durable.raise_event('after', 'e', '2')]);
$node->safe_psql('postgres', q[SELECT durable.raise_event('after', 'e', '3')]);
is($node->safe_psql('postgres', q[SELECT output FROM durable.wait_for_completion('after', '1 min')]), '[1, 2, 3]', 'so does the other');

# Quotas: what each of many roles has started and committed is of no account when another one starts something.
$node->append_conf('postgresql.conf', "durable.databases = 'none'");
$node->restart;
$node->safe_psql('postgres', q[
CREATE ROLE regress_durable_users;
SELECT durable.grant_usage('regress_durable_users');
SELECT durable.set_quota(NULL, live_instances => 1);
DO $$ BEGIN FOR i IN 1 .. 1500 LOOP EXECUTE format('CREATE ROLE regress_durable_%s LOGIN IN ROLE regress_durable_users', i); END LOOP; END $$;
CREATE PROCEDURE many(low int, high int) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN low .. high LOOP
		EXECUTE format('SET LOCAL ROLE regress_durable_%s', i);
		PERFORM durable.start_new('collects');
		COMMIT;
	END LOOP;
END $$;
]);
$node->safe_psql('postgres', 'CALL many(1, 1499)');
my $first = $node->background_psql('postgres');
$first->query_safe(q[BEGIN; SET LOCAL ROLE regress_durable_1500; SELECT durable.start_new('collects')]);
my ($rc, $out, $err) = $node->psql('postgres', qq[\\set VERBOSITY sqlstate\nSET ROLE regress_durable_1500; SELECT durable.start_new('collects')]);
like($err, qr/53400/, 'what a transaction under way has started counts, however many roles there are');
$first->query_safe('ROLLBACK');
$node->safe_psql('postgres', q[SET ROLE regress_durable_1500; SELECT durable.start_new('collects')]);
($rc, $out, $err) = $node->psql('postgres', qq[\\set VERBOSITY sqlstate\nSET ROLE regress_durable_1; SELECT durable.start_new('collects')]);
like($err, qr/53400/, 'and a role that had to make room has its quota as before');
$first->quit;
$node->stop;
done_testing();
