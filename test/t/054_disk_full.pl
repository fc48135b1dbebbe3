# A full disk: instances wait, clients get the error, and when there is room again everything goes on, each effect once.
# The data directory is in a small file system of its own, mounted in a namespace that only this test sees; where that
# is not allowed the test is skipped.  The write-ahead log is elsewhere: without room for it PostgreSQL itself ends.
use strict;
use warnings;

# Before the modules, which take over the output.
BEGIN
{
	my @unshare = ('unshare', '--map-current-user', '--mount', '--keep-caps');

	if (!$ENV{DURABLE_UNSHARED} && `uname -sm` eq "Linux x86_64\n" && system("@unshare true 2>/dev/null") == 0)
	{
		$ENV{DURABLE_UNSHARED} = 1;
		exec(@unshare, $^X, $0) or die "unshare: $!";
	}
}
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use DurableTest;

plan skip_all => 'needs user namespaces, and Linux on x86_64' unless $ENV{DURABLE_UNSHARED};

my $mount = 165;	# the number of the call; Perl has none of that name
my $node = PostgreSQL::Test::Cluster->new('full');
my $data = $node->data_dir;
my ($none, $type, $options) = ('none', 'tmpfs', 'size=90m,mode=0700');
mkdir $data or die "$data: $!";
plan skip_all => "cannot mount: $!" if syscall($mount, $none, $data, $type, 0, $options) != 0;

$node->init(extra => [ '--waldir', $node->basedir . '/wal' ]);
$node->append_conf('postgresql.conf', slurp_file("$ENV{DURABLE_TMP}/paths.conf"));
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'durable'\nshared_buffers = 4MB\nlogging_collector = off\n");
$node->start;
$node->safe_psql('postgres', q[
CREATE EXTENSION durable;
CREATE TABLE effects (instance_id text, task_id int, filler text, PRIMARY KEY (instance_id, task_id));
ALTER TABLE effects ALTER filler SET STORAGE PLAIN;
CREATE FUNCTION effect() RETURNS void LANGUAGE sql AS $$ INSERT INTO effects VALUES (durable.instance_id(), durable.task_id(), repeat('x', 3000)) $$;
CREATE FUNCTION chain() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	filler jsonb := to_jsonb(repeat(md5('x'), 100));
BEGIN
	FOR i IN 1 .. 30 LOOP
		PERFORM durable.call_activity('effect', retry => durable.retry_policy(max_attempts => 1000, first_interval => '200 ms'));
		PERFORM durable.wait_for_external_event('none', '1 ms', filler);
	END LOOP;
	RETURN 'done';
END $$;
]);

# Fills the disk to its last byte.
sub fill
{
	open(my $file, '>', "$data/filler") or die $!;
	binmode $file;
	1 while syswrite($file, "\0" x 8192);
	close($file);
}

$node->safe_psql('postgres', q[SELECT durable.start_new('chain', instance_id => 'c' || i) FROM generate_series(1, 150) i]);
poll_until($node, q[SELECT count(*) > 50 FROM effects], 'instances run');
fill();
ok($node->poll_query_until('postgres', q[SELECT pg_read_file('] . server_log($node) . q[') ~ 'No space left on device|Check free disk space']), 'until the disk is full');
my ($rc, $out, $err) = $node->psql('postgres', q[SELECT durable.start_new('chain', to_jsonb(repeat(md5(i::text), 50))) FROM generate_series(1, 5000) i]);
isnt($rc, 0, 'a client gets the error');
# a block that fits in part gives another message than one that does not at all
like($err, qr{No space left on device|Check free disk space}, 'which says why');
cmp_ok($node->safe_psql('postgres', q[SELECT count(*) FROM durable.instances WHERE runtime_status = 'Running']), '>', 0, 'instances wait');

unlink("$data/filler") or die $!;
poll_until($node, q[SELECT count(*) = 150 AND bool_and(runtime_status = 'Completed') FROM durable.instances], 'and complete when there is room again')
	or diag($node->safe_psql('postgres', q[SELECT runtime_status, failure, count(*) FROM durable.instances GROUP BY 1, 2]));
is($node->safe_psql('postgres', q[SELECT count(*) FROM effects]), 4500, 'each effect once');
is($node->safe_psql('postgres', 'SELECT count(*) FROM durable_internal.violations'), 0, 'no invariant is broken');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP:|terminated by signal|XX000/, 'nothing has crashed');
$node->stop;

done_testing();
