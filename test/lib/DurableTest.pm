# What the TAP tests share: nodes that have the extension.
package DurableTest;
use strict;
use warnings;
use Exporter 'import';
use File::Spec;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(durable_node server_log poll_until);

# Makes and starts a node with the extension in database postgres. Options:
#   conf      => text to append to postgresql.conf
#   init      => arguments for PostgreSQL::Test::Cluster->init, such as [ allows_streaming => 1 ]
#   start     => 0 to leave it stopped
#   extension => 0 to leave the extension out
sub durable_node
{
	my ($name, %opts) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init(@{ $opts{init} // [] });
	$node->append_conf('postgresql.conf', slurp_file("$ENV{DURABLE_TMP}/paths.conf"));
	# As a real server: it flushes, and comes back after the crash of a backend.
	$node->append_conf(
		'postgresql.conf', q(
shared_preload_libraries = 'durable'
fsync = on
restart_after_crash = on
max_worker_processes = 32
timezone = 'UTC'
));
	$node->append_conf('postgresql.conf', $opts{conf}) if defined $opts{conf};
	return $node unless $opts{start} // 1;

	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION durable') if $opts{extension} // 1;
	return $node;
}

# The log of a node for pg_read_file: from PostgreSQL 18 on logfile is relative to the test's directory.
sub server_log
{
	return File::Spec->rel2abs($_[0]->logfile);
}

# Asserts that the query comes to return the expected value ('t' unless given) before the test's timeout.
sub poll_until
{
	my ($node, $query, $what, $expected, $database) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $ok;

	# A server that is coming back from a crash may refuse psql before it has read the query.
	do
	{
		$ok = eval { $node->poll_query_until($database // 'postgres', $query, $expected // 't') };
	} while ($@ =~ /Broken pipe/);
	die $@ if $@;
	return ok($ok, $what // $query);
}

1;
