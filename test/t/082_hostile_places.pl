# Code that would keep its place for ever: none of it stops others, and none of it escapes its timeout, its cancellation or
# the count of its deaths.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes 'time';
use DurableTest;

my $node;

sub prepare
{
	my ($name, $conf) = @_;

	$node = durable_node($name, conf => "durable.poll_interval = 10min\ndurable.max_workers = 4\n$conf");
	$node->safe_psql('postgres', q[
		GRANT ALL ON SCHEMA public TO PUBLIC;
		CREATE TABLE effects (note text);
		GRANT ALL ON effects TO PUBLIC;
		CREATE FUNCTION say(name text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN 'Hello ' || name; END $$;
		CREATE FUNCTION hello() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN durable.call_activity('say', '"x"'); END $$;
		CREATE FUNCTION nap(seconds float) RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(seconds); END $$;
		CREATE FUNCTION sleeper(seconds float) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM durable.call_activity('nap', to_jsonb(seconds)); RETURN 'ok'; END $$;
		CREATE FUNCTION run(name text) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RETURN durable.call_activity(name); END $$;
		CREATE FUNCTION run_for(name text, seconds float) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RETURN durable.call_activity(name, timeout => seconds * interval '1 s'); END $$;
		CREATE FUNCTION flood(n int) RETURNS void LANGUAGE plpgsql AS $$
		BEGIN
			FOR i IN 1 .. 100 LOOP
				PERFORM durable.call_activity('say', '"x"');
			END LOOP;
			PERFORM durable.continue_as_new(to_jsonb(n + 1));
		END $$;]);
	$node->safe_psql('postgres', "CREATE ROLE role_$_ LOGIN; SELECT durable.grant_usage('role_$_')") foreach 1 .. 4;
	bystander($node, "$name: an idle server", role => 'role_2');
	return;
}

sub as
{
	my ($role, $sql) = @_;

	return $node->safe_psql('postgres', $sql, extra_params => [ '-U', $role ]);
}

sub status
{
	my ($id) = @_;

	return $node->safe_psql('postgres', "SELECT runtime_status || coalesce(' ' || (failure ->> 'sqlstate'), '') FROM durable.get_status('$id')");
}

prepare('hostile', 'max_worker_processes = 32');

# A deferred trigger defers another one, which would be run by the commit of the round.
as('role_1', q[
	CREATE TABLE queued (kind text, i int);
	CREATE FUNCTION again() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		IF NEW.i = 1 THEN
			SET CONSTRAINTS ALL DEFERRED;
			INSERT INTO queued VALUES (NEW.kind, 2);
		ELSE
			INSERT INTO effects VALUES ('escaped');
			PERFORM pg_sleep(60);
		END IF;
		RETURN NULL;
	END $$;
	CREATE CONSTRAINT TRIGGER again AFTER INSERT ON queued DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION again();
	CREATE FUNCTION escapes() RETURNS void LANGUAGE plpgsql AS $$ BEGIN INSERT INTO queued VALUES ('sleeps', 1); END $$;
	SELECT durable.start_new('run', '"escapes"', 'escapes-' || i) FROM generate_series(1, 5) i]);
bystander($node, 'hello beside deferred triggers', role => 'role_2');
poll_within($node, 2.5 * seconds_bar($node), q(SELECT count(*) >= 2 FROM durable.workers WHERE place = 'long' AND instance_id ^@ 'escapes-'), 'they run as a part of the call, and alone');
as('role_1', q(SELECT durable.terminate('escapes-' || i, cancel_activities => true) FROM generate_series(1, 5) i));
poll_within($node, 2.5 * seconds_bar($node), q(SELECT count(*) FROM durable.workers WHERE instance_id ^@ 'escapes-'), 'and are cancelled with it', '0');
is($node->safe_psql('postgres', 'SELECT count(*) FROM effects'), '0', 'and nothing of it is left');

# A foreign key is deferrable only while the event is queued: its check calls a cast of the user's.
as('role_1', q[
	CREATE TYPE letter AS ENUM ('a');
	CREATE TABLE flag (i int);
	CREATE FUNCTION letter_to_int(v letter) RETURNS int LANGUAGE plpgsql AS $$
	BEGIN
		IF EXISTS (SELECT FROM flag) THEN
			INSERT INTO effects VALUES ('at commit');
			PERFORM pg_sleep(60);
		END IF;
		RETURN 1;
	END $$;
	CREATE CAST (letter AS int) WITH FUNCTION letter_to_int(letter) AS IMPLICIT;
	CREATE TABLE referenced (i int PRIMARY KEY);
	CREATE TABLE referencing (f letter CONSTRAINT c REFERENCES referenced);
	INSERT INTO referenced VALUES (1), (2);
	INSERT INTO referencing VALUES ('a');
	CREATE FUNCTION alters() RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		ALTER TABLE referencing ALTER CONSTRAINT c DEFERRABLE INITIALLY DEFERRED;
		DELETE FROM referenced WHERE i = 2;
		ALTER TABLE referencing ALTER CONSTRAINT c NOT DEFERRABLE;
	END $$;
	INSERT INTO flag VALUES (1);
	SELECT durable.start_new('run_for', '{"name": "alters", "seconds": 2}', 'alters')]);
bystander($node, 'hello beside a foreign key that was deferrable', role => 'role_2');
poll_within($node, 10, q(SELECT failure ->> 'sqlstate' FROM durable.get_status('alters')), 'its check ends with the timeout of the call', 'OD006');
is($node->safe_psql('postgres', 'SELECT count(*) FROM effects'), '0', 'and nothing of it is left either');

# Code that does not look for interrupts.  It is stopped from outside in the end.
SKIP:
{
	my ($rc) = $node->psql('postgres', "SELECT xpath('1', '<r/>'::xml)");
	skip 'no libxml', 8 if $rc != 0;
	# more that takes long than the role has places for
	as('role_1', q(SELECT durable.start_new('sleeper', '600', 'waits-' || i) FROM generate_series(1, 12) i));
	poll_until($node, q(SELECT count(*) = 8 FROM durable.workers WHERE role = 'role_1'::regrole AND place = 'long'), 'all long places of the role are taken');
	as('role_1', q[
		CREATE FUNCTION deaf(n int) RETURNS int LANGUAGE sql AS $$
			SELECT length(xpath('count(//a[count(//a[count(//a) > 0]) > 0])', ('<r>' || repeat('<a/>', n) || '</r>')::xml)::text) $$]);
	as('role_1', qq[
		CREATE FUNCTION deaf_$_() RETURNS int LANGUAGE plpgsql AS \$\$ BEGIN RETURN deaf(700); END \$\$;
		SELECT durable.start_new('run', '"deaf_$_"', 'deaf-$_')]) foreach 1 .. 6;
	poll_within($node, 10, q(SELECT count(*) >= 2 FROM durable.workers WHERE role = 'role_1'::regrole AND instance_id ^@ 'deaf-'), 'code that does not look for interrupts runs');
	bystander($node, 'hello beside it', role => 'role_2') for 1 .. 2;
	cmp_ok($node->safe_psql('postgres', q(SELECT count(*) FROM durable.workers WHERE role = 'role_1'::regrole AND state = 'busy' AND instance_id ^@ 'deaf-')), '<=', 6, 'and does not take all processes');
	as('role_1', q(CREATE OR REPLACE FUNCTION deaf(n int) RETURNS int LANGUAGE sql AS 'SELECT 1'));
	# they are undone, and wait for a long place of the role
	poll_until($node, q(SELECT count(*) = 0 FROM durable.workers WHERE instance_id ^@ 'deaf-'), 'it ends');
	is($node->safe_psql('postgres', q(SELECT count(*) FROM durable.workers WHERE role = 'role_1'::regrole AND place = 'long' AND instance_id ^@ 'waits-')), '8',
		'which gives the role no further long place');
	bystander($node, 'hello of the role', role => 'role_1');
	as('role_1', q(SELECT durable.terminate(instance_id, cancel_activities => true) FROM durable.instances WHERE instance_id ^@ 'waits-'));
	poll_until($node, q(SELECT count(*) = 6 FROM durable.instances WHERE instance_id ^@ 'deaf-' AND runtime_status = 'Completed'), 'and completes when it has one');
}

# An activity that handles its cancellation and goes on.
as('role_1', q[
	CREATE FUNCTION stubborn() RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		LOOP
			BEGIN
				PERFORM pg_sleep(600);
			EXCEPTION WHEN query_canceled OR assert_failure THEN NULL;
			END;
		END LOOP;
	END $$;
	SELECT durable.start_new('run', '"stubborn"', 'stubborn')]);
poll_until($node, q(SELECT count(*) = 1 FROM durable.workers WHERE instance_id = 'stubborn' AND place = 'long'), 'it runs alone');
as('role_1', q(SELECT durable.terminate('stubborn', cancel_activities => true)));
poll_within($node, 25, q(SELECT count(*) = 0 FROM durable.workers WHERE instance_id = 'stubborn'), 'a cancelled activity that goes on ends its worker');
is(status('stubborn'), 'Terminated', 'and its instance is terminated');

# Timeouts come also where others wait for the place.
change_setting($node, 'durable.max_long_activities', 1);
$node->safe_psql('postgres', q[CREATE FUNCTION needs() RETURNS void LANGUAGE sql AS $$ INSERT INTO public.effects VALUES ('late') $$]);
my $client = $node->background_psql('postgres');
$client->query_safe(q(BEGIN; LOCK TABLE effects));
as('role_1', q(SELECT durable.start_new('run_for', '{"name": "needs", "seconds": 2}', 'limited-' || i) FROM generate_series(1, 2) i));
poll_within($node, 20, q(SELECT count(*) FROM durable.instances WHERE instance_id ^@ 'limited-' AND failure ->> 'sqlstate' = 'OD006'), 'timeouts end waits for a lock', '2');
$client->query_safe('COMMIT');
$client->quit;
change_setting($node, 'durable.max_long_activities', 16);

# Fewer places than were lent.
as('role_1', q(SELECT durable.start_new('sleeper', '600', 'lent-' || i) FROM generate_series(1, 4) i));
poll_until($node, q(SELECT count(*) = 4 FROM durable.workers WHERE role = 'role_1'::regrole AND place = 'long'), 'all of four run alone');
change_setting($node, 'durable.max_workers', 1);
bystander($node, 'hello with fewer places', role => 'role_2') for 1 .. 2;
cmp_ok($node->safe_psql('postgres', q(SELECT count(*) FROM durable.workers WHERE role = 'role_2'::regrole)), '<=', 4, 'and few processes were started for it');
as('role_1', q(SELECT durable.terminate(instance_id, cancel_activities => true) FROM durable.instances WHERE instance_id ^@ 'lent-'));
is($node->safe_psql('postgres', 'SELECT * FROM durable_internal.violations'), '', 'no violations');
$node->stop;

# One role's backlog where the server has fewer processes than there are places.
foreach my $processes (4, 6)
{
	prepare("few_$processes", "max_worker_processes = $processes");
	as('role_1', q(SELECT durable.start_new('flood', '0') FROM generate_series(1, 50)));
	poll_until($node, q(SELECT turns > 100 FROM durable.stats WHERE role = 'role_1'::regrole), 'a flood has come');
	my $start = time();
	as("role_$_", qq(SELECT durable.start_new('hello', instance_id => 'beside-$_'))) foreach 2 .. 4;
	poll_within($node, 15, q(SELECT count(*) FROM durable.instances WHERE instance_id ^@ 'beside-' AND runtime_status = 'Completed'), "$processes processes: three roles are served beside a flood", '3');
	note(sprintf('%d processes: after %.1f s', $processes, time() - $start));
	$node->stop('immediate');
}

# A role that keeps its processes with such code begins nothing more, and the log says what waits.
SKIP:
{
	prepare('deaf', "max_worker_processes = 32\ndurable.max_workers = 1");
	my ($rc) = $node->psql('postgres', "SELECT xpath('1', '<r/>'::xml)");
	skip 'no libxml', 5 if $rc != 0;
	as('role_1', q[
		CREATE FUNCTION deaf() RETURNS int LANGUAGE sql AS $$
			SELECT length(xpath('count(//a[count(//a[count(//a) > 0]) > 0])', ('<r>' || repeat('<a/>', 5000) || '</r>')::xml)::text) $$]);
	foreach my $i (1, 2)
	{
		as('role_1', "SELECT durable.start_new('run', '\"deaf\"', 'deaf-$i')");
		poll_within($node, 2.5 * seconds_bar($node), "SELECT count(*) FROM durable.workers WHERE instance_id ^@ 'deaf-'", "calls that run: $i", $i);
	}
	bystander($node, 'hello beside them', role => 'role_2');
	as('role_1', q(SELECT durable.start_new('hello', instance_id => 'behind')));
	poll_within($node, 30, sprintf(q(SELECT pg_read_file('%s') ~ 'work of role "role_1" in database "postgres" has waited for a worker for 1[0-9] s'), server_log($node)),
		'the log says that the role waits');
	is(status('behind'), 'Pending', 'it does');
	$node->stop('immediate');
}

# Sessions that read statistics, of as many functions as a role can have there, all the time.
{
	prepare('readers', 'max_worker_processes = 32');
	as('role_1', q[
		DO $$ BEGIN FOR i IN 1 .. 520 LOOP EXECUTE format('CREATE FUNCTION f%s() RETURNS int LANGUAGE sql AS $f$ SELECT 1 $f$', lpad(i::text, 60, '0')); END LOOP; END $$;
		CREATE FUNCTION many() RETURNS void LANGUAGE plpgsql AS $$ BEGIN FOR i IN 1 .. 520 LOOP PERFORM durable.call_activity('f' || lpad(i::text, 60, '0')); END LOOP; END $$;
		CREATE FUNCTION reads() RETURNS void LANGUAGE plpgsql AS $$
		BEGIN
			WHILE NOT EXISTS (SELECT FROM pg_class WHERE relname = 'stop') LOOP
				PERFORM EXISTS (SELECT FROM durable.function_stats), EXISTS (SELECT FROM durable.function_stats), EXISTS (SELECT FROM durable.function_stats);
			END LOOP;
		END $$;
		SELECT durable.start_new('many', instance_id => 'many')]);
	poll_within($node, 60, q(SELECT runtime_status = 'Completed' FROM durable.get_status('many')), 'functions have statistics');
	my @readers = map { IPC::Run::start([ 'psql', '-Xq', '-d', $node->connstr('postgres') . ' user=role_1', '-c', 'SELECT reads()' ]) } 1 .. 8;
	poll_within($node, 60, q(SELECT count(*) = 8 FROM pg_stat_activity WHERE query = 'SELECT reads()'), 'they read');
	bystander($node, "hello $_ beside them", role => 'role_2') foreach 1 .. 8;
	$node->safe_psql('postgres', 'CREATE TABLE stop ()');
	$_->finish foreach @readers;
	$node->stop;
}
done_testing();
