# pg_upgrade starts the old server and the new one: the engine runs in neither, and goes on afterwards where it was.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use DurableTest;

my ($bindir) = run_command([ $ENV{PG_CONFIG}, '--bindir' ]);
plan skip_all => 'the server has no pg_upgrade' unless -x "$bindir/pg_upgrade";

my $old = durable_node('old');
$old->safe_psql('postgres', q[
CREATE TABLE beats (n int);
CREATE FUNCTION beat(n int) RETURNS void LANGUAGE plpgsql AS $$ BEGIN INSERT INTO beats VALUES (n); EXECUTE format('CREATE TABLE beat%s (n int)', n); END $$;
CREATE FUNCTION endless(n int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM durable.call_activity('beat', to_jsonb(n));
	PERFORM durable.sleep('20 ms');
	PERFORM durable.continue_as_new(to_jsonb(n + 1));
END $$;
CREATE FUNCTION naps() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN durable.wait_for_external_event('go')::int; END $$;
SELECT durable.start_new('endless', '1', instance_id => 'endless');
SELECT durable.start_new('naps', instance_id => 'naps');
]);
poll_until($old, 'SELECT count(*) > 5 FROM beats', 'the engine runs');
$old->stop;
# nothing may run between this and the end of pg_upgrade
$old->append_conf('postgresql.conf', "durable.databases = 'none'");
$old->start;
my $beats = $old->safe_psql('postgres', 'SELECT count(*), max(n) FROM beats');
$old->stop;
$old->adjust_conf('postgresql.conf', 'durable.databases', "''");

my $new = durable_node('new', start => 0);
chdir PostgreSQL::Test::Utils::tempdir() or die;
command_ok([ "$bindir/pg_upgrade", '--no-sync', '-b', $bindir, '-B', $bindir, '-d', $old->data_dir, '-D', $new->data_dir,
	'-s', $new->host, '-p', $old->port, '-P', $new->port ], 'pg_upgrade');
$new->append_conf('postgresql.conf', "durable.databases = 'none'");
$new->start;
is($new->safe_psql('postgres', 'SELECT count(*), max(n) FROM beats'), $beats, 'nothing has run within pg_upgrade');
is($new->safe_psql('postgres', q[SELECT count(*) FROM durable.instances WHERE runtime_status = 'Running']), 2, 'the instances live');
$new->append_conf('postgresql.conf', "durable.databases = ''");
$new->reload;
my ($count, $max) = split /\|/, $beats;
poll_until($new, "SELECT max(n) > $max + 5 FROM beats", 'in the new server they go on');
$new->safe_psql('postgres', q[SELECT durable.raise_event('naps', 'go', '7')]);
is($new->safe_psql('postgres', q[SELECT output FROM durable.wait_for_completion('naps', '1 min')]), '7', 'all of them');
is($new->safe_psql('postgres', q[SELECT count(*) - count(DISTINCT n), max(n) - count(*) FROM beats]), '0|0', 'each effect once');
is($new->safe_psql('postgres', 'SELECT count(*) FROM durable_internal.violations'), 0, 'no invariant is broken');
$new->stop;
done_testing();
