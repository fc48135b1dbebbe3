# Schedules where pg_cron is not loaded or works for another database, and, with DURABLE_TEST_SLOW set, one that
# pg_cron itself runs: it looks once a minute.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use DurableTest;

my $node = durable_node('schedules');
$node->safe_psql('postgres', q(
CREATE FUNCTION answer() RETURNS int LANGUAGE sql AS 'SELECT 42';
CREATE ROLE regress_schedule LOGIN;
SELECT durable.grant_usage('regress_schedule');
));
my $schedule = q(SELECT durable.schedule('every minute', '* * * * *', 'answer'));

# What a statement fails with: SQLSTATE and hint.
sub failure
{
	my ($database, $statement) = @_;
	my ($rc, $out, $err) = $node->psql($database, "\\set VERBOSITY verbose\n$statement");
	return $rc == 0 ? "no error: $out" : $err;
}

like(failure('postgres', $schedule), qr/55000: schedules need pg_cron: pg_cron is not loaded.*shared_preload_libraries/s,
	'pg_cron is not loaded');
like(failure('postgres', "SET ROLE regress_schedule; $schedule"), qr/55000: schedules need pg_cron: pg_cron is not loaded/,
	'not to be seen by an ordinary role either');

SKIP:
{
	skip 'the server has no pg_cron'
	  unless $node->safe_psql('postgres', q(SELECT count(*) FROM pg_available_extensions WHERE name = 'pg_cron'));

	$node->safe_psql('postgres', 'CREATE DATABASE other');
	$node->safe_psql('other', q(CREATE EXTENSION durable; CREATE FUNCTION answer() RETURNS int LANGUAGE sql AS 'SELECT 42'));
	$node->append_conf('postgresql.conf', q(
shared_preload_libraries = 'durable,pg_cron'
cron.database_name = 'postgres'
cron.use_background_workers = on
));
	$node->restart;
	$node->safe_psql('postgres', 'CREATE EXTENSION pg_cron; GRANT USAGE ON SCHEMA cron TO regress_schedule');

	like(failure('other', $schedule), qr/55000: schedules need pg_cron: pg_cron runs in database "postgres", not in this one.*HINT:/s,
		'pg_cron works for another database');
	$node->safe_psql('postgres', "SET ROLE regress_schedule; $schedule");
	is($node->safe_psql('postgres', q(SELECT database || ' ' || username FROM cron.job)), 'postgres regress_schedule',
		'a job of the role in this database');

	if ($ENV{DURABLE_TEST_SLOW})
	{
		$node->safe_psql('postgres', q(SELECT durable.start_new('answer', instance_id => 'old', start_at => now())));
		$node->safe_psql('postgres', q(SELECT durable.schedule_purge('1 s', '* * * * *')));
		poll_until($node, q(SELECT count(*) > 0 FROM durable.instances
			WHERE tags->>'schedule' = 'every minute' AND output = '42' AND owner = 'regress_schedule'::regrole),
			'pg_cron runs it');
		poll_until($node, q(SELECT count(*) = 0 FROM durable.instances WHERE instance_id = 'old'), 'and a purge');
		poll_until($node, q(SELECT count(*) > 1 AND bool_and(status = 'succeeded') FROM cron.job_run_details), 'and says so');
	}

	# The server loses pg_cron while there are schedules.
	$node->append_conf('postgresql.conf', "shared_preload_libraries = 'durable'");
	$node->restart;
	$node->safe_psql('postgres', 'DROP EXTENSION pg_cron');
	is($node->safe_psql('postgres', q(SET ROLE regress_schedule; SELECT durable.unschedule('every minute'))), 't',
		'a schedule ends without pg_cron');
	is($node->safe_psql('postgres', q(SELECT count(*) FROM durable.schedules WHERE owner = 'regress_schedule'::regrole)), '0', 'and is gone');
}

done_testing();
