# What the TAP tests share: nodes that have the extension.
package DurableTest;
use strict;
use warnings;
use Exporter 'import';
use File::Spec;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes 'time';

our @EXPORT = qw(durable_node server_log poll_until poll_within change_setting seconds_bar bystander end_scene watchdog_start watchdog_ok);

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

# As poll_until, but for at most so many seconds: for what a scene must come to while something else stands in the way.
sub poll_within
{
	my ($node, $seconds, $query, $what, $expected) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	# one try takes a tenth of a second and the start of psql
	local $PostgreSQL::Test::Utils::timeout_default = $seconds;

	return poll_until($node, $query, $what, $expected);
}

# Changes a setting of the running server and waits until sessions see the value.  A server that does not know the setting
# is left as it is.
sub change_setting
{
	my ($node, $name, $value) = @_;

	$node->append_conf('postgresql.conf', "$name = $value");
	$node->reload;
	return if $node->safe_psql('postgres', "SELECT current_setting('$name', true) IS NULL") eq 't';
	$node->poll_query_until('postgres', "SELECT current_setting('$name')", $value) or die "$name is not $value";
	return;
}

# How many seconds something may take that has to be done at once: 2 on an idle machine, where psql starts and asks the
# server in less than 20 ms, and more on a busy one, at most 10.
sub seconds_bar
{
	my ($node) = @_;
	my @times;

	foreach (1 .. 2)
	{
		my $start = time();
		$node->safe_psql('postgres', 'SELECT 1');
		push @times, time() - $start;
	}
	my ($least) = sort { $a <=> $b } @times;
	return $least < 0.02 ? 2 : $least > 0.1 ? 10 : 100 * $least;
}

# Starts an instance and asserts that it completes at once, whatever else goes on.  Options: name => of the orchestrator
# (hello), role => who starts it, before => SQL for the session, such as SET search_path.
sub bystander
{
	my ($node, $what, %opts) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $name = $opts{name} // 'hello';
	my $bar = seconds_bar($node);
	my $start = time();
	my $status = $node->safe_psql('postgres', ($opts{before} // '') . qq(;
		SELECT durable.start_new('$name') AS id \\gset
		SELECT runtime_status FROM durable.wait_for_completion(:'id', '$bar s')),
		extra_params => $opts{role} ? [ '-U', $opts{role} ] : []);

	note(sprintf('%s: %.0f ms', $what, 1000 * (time() - $start)));
	return is($status, 'Completed', sprintf('%s (within %.1f s)', $what, $bar));
}

# Ends a scene: terminates what lives.  What does not listen to that is ended with its process, and the test fails.
sub end_scene
{
	my ($node) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	local $PostgreSQL::Test::Utils::timeout_default = 20;
	my $live = q(SELECT count(*) FROM durable.instances WHERE completed_time IS NULL);

	$node->safe_psql('postgres', q(
		DO $$
		DECLARE
			id text;
		BEGIN
			FOR id IN SELECT instance_id FROM durable.instances WHERE completed_time IS NULL LOOP
				BEGIN
					PERFORM durable.terminate(id, cancel_activities => true);
				EXCEPTION WHEN SQLSTATE 'OD002' THEN NULL;
				END;
			END LOOP;
		END $$));
	return pass('the scene is over') if $node->poll_query_until('postgres', $live, '0');
	$node->safe_psql('postgres', q(SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE backend_type = 'durable worker'));
	$node->poll_query_until('postgres', $live, '0');
	return fail('the scene is over');
}

# Starts a watchdog: a session that looks five times a second for what waits for a worker although a place is free: an
# instance that has not begun, an activity in the queue, a role with ready instances whose counters stand still.
# Returns a handle for watchdog_ok.
sub watchdog_start
{
	my ($node, $seconds) = @_;
	$seconds //= seconds_bar($node);

	$node->safe_psql('postgres', q(
		CREATE SCHEMA IF NOT EXISTS watchdog;
		CREATE TABLE IF NOT EXISTS watchdog.stop ();
		CREATE TABLE IF NOT EXISTS watchdog.found (item text PRIMARY KEY, since timestamptz, until timestamptz, workers jsonb);
		TRUNCATE watchdog.stop, watchdog.found;
		-- Whether a place of this kind is free.
		CREATE OR REPLACE FUNCTION watchdog.is_free(kind text, setting text) RETURNS boolean LANGUAGE sql AS $$
			SELECT count(*) FILTER (WHERE CASE WHEN w ? 'place' THEN w ->> 'place' = kind ELSE w ->> 'state' <> 'idle' END) < coalesce(current_setting(setting, true)::int, 0)
			  FROM (SELECT to_jsonb(w) FROM durable.workers w) AS w (w)
		$$;
		-- What waits for a place that is free.
		CREATE OR REPLACE FUNCTION watchdog.waiting() RETURNS SETOF text LANGUAGE sql AS $$
			SELECT 'instance ' || instance_id FROM durable_internal.instances WHERE state = 'R' AND started_time IS NULL
			   AND watchdog.is_free('batch', 'durable.max_workers')
			 UNION
			SELECT format('activity %s of %s', a ->> 'task_id', a ->> 'instance_id')
			  FROM (SELECT to_jsonb(a) - 'input' FROM durable.activities a WHERE a.pid IS NULL) AS a (a)
			 WHERE CASE coalesce(a ->> 'state', 'queued')
			           WHEN 'queued' THEN watchdog.is_free('batch', 'durable.max_workers')
			           WHEN 'waiting for a place' THEN watchdog.is_free('long', 'durable.max_long_activities')
			       END
			 UNION
			SELECT format('instances of %s, after %s turns and %s activities', role, turns, activities)
			  FROM durable.stats WHERE ready_instances > 0 AND watchdog.is_free('batch', 'durable.max_workers')
		$$;
		CREATE OR REPLACE PROCEDURE watchdog.watch(patience interval) LANGUAGE plpgsql AS $$
		DECLARE
			looked timestamptz := clock_timestamp();
			items text[];
		BEGIN
			CREATE TEMP TABLE seen (item text PRIMARY KEY, since timestamptz NOT NULL);
			WHILE NOT EXISTS (SELECT FROM watchdog.stop) LOOP
				-- After a look that came late nobody knows what was in between.
				IF clock_timestamp() - looked > '1 s' THEN
					DELETE FROM seen;
				END IF;
				looked := clock_timestamp();
				items := ARRAY(SELECT * FROM watchdog.waiting());
				DELETE FROM seen WHERE item <> ALL (items);
				INSERT INTO seen SELECT item, looked FROM unnest(items) item ON CONFLICT DO NOTHING;
				INSERT INTO watchdog.found
				SELECT item, since, looked, (SELECT jsonb_agg(w) FROM durable.workers w)
				  FROM seen WHERE since < looked - patience
				    ON CONFLICT (item) DO UPDATE SET until = looked;
				COMMIT;
				PERFORM pg_sleep(0.2);
			END LOOP;
		END $$));
	my $handle = IPC::Run::start([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-c', "CALL watchdog.watch('$seconds s')" ],
		'<', \undef, '>', \my $out, '2>', \my $err);
	return { node => $node, handle => $handle, err => \$err };
}

# Ends a watchdog and asserts that it has found nothing.
sub watchdog_ok
{
	my ($dog, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $node = $dog->{node};

	$node->safe_psql('postgres', 'INSERT INTO watchdog.stop DEFAULT VALUES');
	ok($dog->{handle}->finish, 'the watchdog has watched to the end') or diag(${ $dog->{err} });
	my $found = $node->safe_psql('postgres', q(SELECT string_agg(format('%s from %s to %s: %s', item, since, until, workers), E'\n')
		FROM (SELECT * FROM watchdog.found ORDER BY until - since DESC LIMIT 5) f));
	# its bar of 2 s is for a machine that is otherwise idle
	return is($found, '', $what // 'nothing waits for a place that is free') if $ENV{DURABLE_SCENES};
	note("beyond the watchdog's bar: $found") if $found ne '';
	return 1;
}

1;
