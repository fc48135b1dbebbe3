# Nobody waits for somebody else's activity: while a function waits for a lock, sleeps or does not end, whatever does not
# need what it waits for goes on, and each activity has its effect once.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes 'time';
use DurableTest;

my $node = durable_node('patience', conf => "durable.poll_interval = 10min\ndurable.max_workers = 4\nmax_connections = 50");
my $scene = 'public';

# Runs SQL with the functions of the scene at hand.
sub sql
{
	my ($sql) = @_;

	return $node->safe_psql('postgres', "SET search_path = $scene; $sql");
}

# A session in which a transaction is open.
sub client
{
	my ($sql) = @_;
	my $session = $node->background_psql('postgres', on_error_stop => 0);

	$session->query_safe("SET search_path = $scene");
	$session->query_safe('BEGIN');
	$session->query_safe($sql);
	return $session;
}

# Ends a session's transaction.
sub release
{
	my ($session) = @_;

	$session->query_safe('COMMIT');
	$session->quit;
	return;
}

sub status
{
	my ($id) = @_;

	return $node->safe_psql('postgres', "SELECT runtime_status FROM durable.get_status('$id')");
}

# Tables and functions of a scene in a schema of its own: their calls are first calls.
sub begin_scene
{
	($scene) = @_;
	$node->safe_psql('postgres', "CREATE SCHEMA $scene");
	sql(q[
		CREATE TABLE acc (id int PRIMARY KEY, n int NOT NULL);
		INSERT INTO acc SELECT i, 0 FROM generate_series(1, 1000) i;
		-- one row for each effect of an activity
		CREATE TABLE effects (instance text, task int, note text);
		CREATE FUNCTION effect(note text) RETURNS text LANGUAGE plpgsql AS $$
		BEGIN
			INSERT INTO effects VALUES (durable.instance_id(), durable.task_id(), note);
			RETURN note;
		END $$;
		-- calls that leave a trace although they are rolled back
		CREATE SEQUENCE tries;
		CREATE FUNCTION say(name text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN effect('Hello ' || name); END $$;
		CREATE FUNCTION hello() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN durable.call_activity('say', '"x"'); END $$;
		-- adds one to a row
		CREATE FUNCTION bump(i int) RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM effect('bump'); UPDATE acc SET n = n + 1 WHERE id = i; END $$;
		CREATE FUNCTION one(i int) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM durable.call_activity('bump', to_jsonb(i)); RETURN 'ok'; END $$;
		CREATE FUNCTION statement(i int) RETURNS text LANGUAGE plpgsql AS $$
		BEGIN
			PERFORM durable.call_sql('WITH e AS (SELECT effect(''bump'')) UPDATE acc SET n = n + 1 FROM e WHERE id = $1', jsonb_build_array(i));
			RETURN 'ok';
		END $$;
		-- calls an activity
		CREATE FUNCTION run(name text) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RETURN durable.call_activity(name); END $$;
		CREATE FUNCTION hang() RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(600); END $$;
		CREATE FUNCTION six() RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM effect('six'); PERFORM pg_sleep(0.006); END $$;
	]);
	return;
}

# Asserts that an instance of hello completes at once.
sub others
{
	my ($what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return bystander($node, "$scene: $what", before => "SET search_path = $scene");
}

# Asserts that each call of the scene whose instance has completed has had its effect once, and no other call any.
sub once
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return is(sql(q(SELECT string_agg(format('%s: %s', instance, count), ', ')
		FROM (SELECT instance, count(*) FROM effects GROUP BY instance, task HAVING count(*) > 1) e)), '', "$scene: no activity has an effect twice");
}

my $lock_wait = q(FROM pg_stat_activity WHERE backend_type = 'durable worker' AND wait_event_type = 'Lock');
my $sleeping = q(FROM pg_stat_activity WHERE backend_type = 'durable worker' AND wait_event = 'PgSleep');

foreach my $workers (1, 2, 4)
{
	my $dog;
	change_setting($node, 'durable.max_workers', $workers);

	# A client has locked one row; more instances need the row than there are places of either kind.
	begin_scene("lock_$workers");
	$dog = watchdog_start($node);
	my $client = client('UPDATE acc SET n = n WHERE id = 1000');
	sql(q(SELECT count(durable.start_new(CASE WHEN i % 40 = 3 THEN 'statement' ELSE 'one' END, to_jsonb(CASE WHEN i % 20 = 3 THEN 1000 ELSE i END),
		CASE WHEN i % 20 = 3 THEN 'locked' ELSE 'free' END || '_' || current_schema() || i)) FROM generate_series(1, 400) i));
	others('a hello beside instances that wait for a lock');
	poll_within($node, 5 * seconds_bar($node), "SELECT count(*) FROM durable.instances WHERE instance_id ^@ 'free_$scene' AND runtime_status <> 'Completed'",
		"$scene: what does not need the row completes", '0');
	is($node->safe_psql('postgres', "SELECT count(*) FROM durable.instances WHERE instance_id ^@ 'locked_$scene' AND runtime_status = 'Completed'"), '0',
		"$scene: while the lock is held");
	others('a second hello');
	sql(qq(SELECT durable.terminate('locked_${scene}3', cancel_activities => true)));
	$node->safe_psql('postgres', "SELECT count(pg_cancel_backend(pid)) $lock_wait");
	others('a hello while those that come next wait, after pg_cancel_backend of those that waited');
	poll_within($node, seconds_bar($node), "SELECT runtime_status FROM durable.get_status('locked_${scene}3')", "$scene: one that waits can be terminated", 'Terminated');
	release($client);
	poll_within($node, 30, "SELECT count(*) FROM durable.instances WHERE completed_time IS NULL", "$scene: all complete after the lock", '0');
	is(sql(q(SELECT sum(n) FROM acc)), $node->safe_psql('postgres', qq(SELECT count(*) FROM durable.instances
		WHERE (instance_id ^@ 'free_$scene' OR instance_id ^@ 'locked_$scene') AND runtime_status = 'Completed')), "$scene: each that completes has added one");
	cmp_ok(sql(q(SELECT sum(n) FROM acc)), '>', 380, "$scene: all that do not need the row do");
	is($node->safe_psql('postgres', qq(SELECT string_agg(DISTINCT failure ->> 'sqlstate', ' ') FROM durable.instances WHERE instance_id ^@ 'locked_$scene' AND runtime_status = 'Failed')) || '57014',
		'57014', "$scene: only cancelled ones have failed");
	once();
	end_scene($node);

	# Activities sleep for as long as they like, more of them than there are workers.
	begin_scene("sleep_$workers");
	sql(qq(SELECT durable.start_new('run', '"hang"') FROM generate_series(1, $workers + 1)));
	poll_within($node, seconds_bar($node), "SELECT count(*) > 0 $sleeping", "$scene: an activity sleeps");
	sql(q(SELECT durable.start_new('run', '"six"', 'six_' || current_schema() || i) FROM generate_series(1, 20) i));
	poll_within($node, seconds_bar($node), "SELECT count(*) FROM durable.instances WHERE instance_id ^@ 'six_$scene' AND runtime_status <> 'Completed'",
		"$scene: activities of 6 ms complete beside sleepers", '0');
	others('a hello beside sleepers');
	is($node->safe_psql('postgres', "SELECT count(*) $sleeping"), $workers + 1, "$scene: all of them sleep");
	once();
	end_scene($node);

	# The first calls of two functions wait for what a third function does.
	begin_scene("first_$workers");
	sql(q[
		CREATE TABLE flag (name text);
		CREATE FUNCTION wait_for(wanted text) RETURNS void LANGUAGE plpgsql AS $$
		BEGIN
			LOOP
				EXIT WHEN EXISTS (SELECT FROM flag WHERE name = wanted);
				PERFORM pg_sleep(0.01);
			END LOOP;
		END $$;
		CREATE FUNCTION first() RETURNS void LANGUAGE sql AS $$ SELECT wait_for('third') $$;
		CREATE FUNCTION second() RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM wait_for('third'); END $$;
		CREATE FUNCTION third() RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM effect('third'); INSERT INTO flag VALUES ('third'); END $$;
		SELECT durable.start_new('run', to_jsonb(name), name || '_' || current_schema()) FROM unnest(ARRAY['first', 'second']) name]);
	poll_within($node, seconds_bar($node), q(SELECT count(*) FROM durable.instances WHERE runtime_status = 'Pending'), "$scene: the first two run", '0');
	sql(q[SELECT durable.start_new('run', '"third"')]);
	poll_within($node, 2 * seconds_bar($node), q(SELECT count(*) FROM durable.instances WHERE completed_time IS NULL), "$scene: first calls wait for each other and end", '0');
	once();
	end_scene($node);

	# Functions that were slow once: one slept, one waited for a lock, one was cancelled.
	begin_scene("slow_once_$workers");
	sql(q[
		CREATE FUNCTION slept() RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM effect('slept'); PERFORM pg_sleep(n / 10.0) FROM acc WHERE id = 1; END $$;
		CREATE FUNCTION waited() RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM effect('waited'); PERFORM FROM acc WHERE id = 2 FOR SHARE; END $$;
		CREATE FUNCTION cancelled() RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM effect('cancelled'); PERFORM FROM acc WHERE id = 3 FOR SHARE; END $$;
		UPDATE acc SET n = 4 WHERE id = 1]);
	$client = client('UPDATE acc SET n = n WHERE id IN (2, 3)');
	sql(q(SELECT durable.start_new('run', to_jsonb(name), name || '_' || current_schema()) FROM unnest(ARRAY['slept', 'waited', 'cancelled']) name));
	poll_within($node, 2 * seconds_bar($node), "SELECT runtime_status FROM durable.get_status('slept_$scene')", "$scene: the one that sleeps completes", 'Completed');
	poll_within($node, seconds_bar($node), "SELECT count(*) $lock_wait", "$scene: the others wait for a lock", '2');
	sql(qq(SELECT durable.terminate('cancelled_$scene', cancel_activities => true)));
	poll_within($node, seconds_bar($node), "SELECT runtime_status FROM durable.get_status('cancelled_$scene')", "$scene: one is cancelled", 'Terminated');
	release($client);
	poll_within($node, seconds_bar($node), "SELECT runtime_status FROM durable.get_status('waited_$scene')", "$scene: one gets its lock", 'Completed');
	sql(qq[
		UPDATE acc SET n = 0 WHERE id = 1;
		SELECT durable.start_new('run', '"hang"') FROM generate_series(1, $workers)]);
	poll_within($node, seconds_bar($node), "SELECT count(*) $sleeping", "$scene: activities sleep", $workers);
	sql(q(SELECT durable.start_new('run', to_jsonb(name), 'quick_' || current_schema() || name || i) FROM unnest(ARRAY['slept', 'waited', 'cancelled']) name, generate_series(1, 7) i));
	poll_within($node, seconds_bar($node), "SELECT count(*) FROM durable.instances WHERE instance_id ^@ 'quick_$scene' AND runtime_status <> 'Completed'",
		"$scene: functions that were slow once complete beside sleepers", '0');
	once();
	end_scene($node);

	# A client and an activity lock rows in opposite orders, beside instances of the same batch.
	begin_scene("deadlock_$workers");
	sql(q(SELECT durable.start_new('one', to_jsonb(100 + i)) FROM generate_series(1, 100) i));
	poll_within($node, 10, q(SELECT count(*) FROM durable.instances WHERE completed_time IS NULL), "$scene: bump is known to be quick", '0');
	$client = client('UPDATE acc SET n = n WHERE id = 1');
	sql(q(SELECT durable.start_new('one', to_jsonb(i), 'row_' || current_schema() || i) FROM unnest(ARRAY[2, 3, 4, 5, 1, 6, 7, 8]) i));
	poll_within($node, seconds_bar($node), "SELECT count(*) FROM durable.instances WHERE instance_id ^@ 'row_$scene' AND runtime_status = 'Completed'",
		"$scene: neighbours of one that waits complete", '7');
	my $begun = time();
	my (undef, $failed) = $client->query('UPDATE acc SET n = n WHERE id = 2');
	my $took = time() - $begun;
	is($failed, 0, "$scene: the client's second row is free");
	cmp_ok($took, '<', 0.5 * seconds_bar($node), "$scene: and it has not waited for a deadlock");
	$client->query('COMMIT');
	$client->quit;
	poll_within($node, 2 * seconds_bar($node), "SELECT runtime_status FROM durable.get_status('row_${scene}1')", "$scene: the one that waited completes", 'Completed');
	is(sql(q(SELECT count(*) || ' ' || sum(n) FROM acc WHERE n > 0)), '108 108', "$scene: each has added one");
	once();
	end_scene($node);

	# Turns that sleep, and domains of a child's input that do.
	begin_scene("turn_$workers");
	sql(q[
		CREATE TABLE pause (seconds float);
		INSERT INTO pause VALUES (20);
		CREATE FUNCTION slow_turn() RETURNS text LANGUAGE plpgsql AS $$
		BEGIN
			PERFORM pg_sleep(seconds) FROM pause;
			RETURN durable.call_activity('say', '"turn"');
		END $$;
		CREATE FUNCTION slow_check(i int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(seconds) FROM pause; RETURN true; END $$;
		CREATE DOMAIN slow_int AS int CHECK (slow_check(value));
		CREATE FUNCTION child(i slow_int) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN durable.call_activity('say', '"child"'); END $$;
		CREATE FUNCTION parent() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN durable.call_sub_orchestrator('child', '5'); END $$]);
	foreach my $name ('slow_turn', 'parent')
	{
		sql(qq[SELECT durable.start_new('$name', instance_id => '${name}_' || current_schema() || i) FROM generate_series(1, $workers) i]);
		poll_within($node, seconds_bar($node), "SELECT count(*) > 0 $sleeping", "$scene: $name sleeps");
		others("a hello beside $name");
		is($node->safe_psql('postgres', "SELECT count(*) FROM durable.instances WHERE instance_id ^@ '${name}_$scene' AND completed_time IS NOT NULL"), '0',
			"$scene: while $name sleeps");
		# however a cancelled turn or child ends
		sql('UPDATE pause SET seconds = 0');
		poll_within($node, 10, qq(SELECT (SELECT count(pg_cancel_backend(pid)) $sleeping) >= 0
			AND NOT EXISTS (SELECT FROM durable.instances WHERE completed_time IS NULL)), "$scene: $name ends when it is cancelled");
		sql('UPDATE pause SET seconds = 20');
	}
	sql(q[
		UPDATE pause SET seconds = 0.5;
		SELECT durable.start_new(name, instance_id => format('ends_%s_%s_%s', current_schema(), name, i)) FROM unnest(ARRAY['slow_turn', 'parent']) name, generate_series(1, 3) i]);
	others('a hello beside shorter turns');
	poll_within($node, 10, qq(SELECT count(*) FROM durable.instances WHERE instance_id ^@ 'ends_$scene' AND runtime_status <> 'Completed'), "$scene: turns that sleep end", '0');
	once();
	watchdog_ok($dog, "$workers places: nothing waits for a place that is free");
}

# Opposite lock orders in a fan-out, and a client that locks the same rows in either order.
change_setting($node, 'durable.max_workers', 4);
begin_scene('orders');
my $dog = watchdog_start($node);
sql(q[
	CREATE FUNCTION four(i int) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM effect('four');
		FOR j IN 1 .. 4 LOOP
			UPDATE acc SET n = n + 1 WHERE id = CASE WHEN i % 2 = 0 THEN j ELSE 5 - j END;
		END LOOP;
	END $$;
	CREATE FUNCTION fan() RETURNS int LANGUAGE plpgsql AS $$
	BEGIN
		RETURN cardinality(durable.when_all(ARRAY(SELECT durable.schedule_activity('four', to_jsonb(i)) FROM generate_series(1, 200) i)));
	END $$;
	-- the same by activities that each change one row, of many instances
	CREATE FUNCTION orders(i int) RETURNS int LANGUAGE plpgsql AS $$
	BEGIN
		RETURN cardinality(durable.when_all(ARRAY(
			SELECT durable.schedule_activity('bump', to_jsonb(j)) FROM generate_series(1, 4) j ORDER BY CASE WHEN i % 2 = 0 THEN j ELSE -j END)));
	END $$;
	-- a client that does the same, holds its first locks for a while, and must never be the victim of a deadlock
	CREATE PROCEDURE clients() LANGUAGE plpgsql AS $$
	BEGIN
		FOR i IN 1 .. 20 LOOP
			UPDATE acc SET n = n + 1 WHERE id = CASE WHEN i % 2 = 0 THEN 1 ELSE 4 END;
			PERFORM pg_sleep(0.01);
			UPDATE acc SET n = n + 1 WHERE id = CASE WHEN i % 2 = 0 THEN 4 ELSE 1 END;
			COMMIT;
		END LOOP;
	END $$;
	SELECT durable.start_new('fan', instance_id => 'fan');
	SELECT count(durable.start_new('orders', to_jsonb(i), 'orders ' || i)) FROM generate_series(1, 200) i;
]);
my $begun = time();
my ($rc, $out, $err) = $node->psql('postgres', "SET search_path = $scene;\nCALL clients()");
is($rc, 0, 'a client is no victim of a deadlock with activities') or diag($err);
cmp_ok(time() - $begun, '<', seconds_bar($node), 'nor does it wait for one');
poll_within($node, 20, q(SELECT runtime_status FROM durable.get_status('fan')), 'a fan-out with opposite lock orders completes', 'Completed');
poll_within($node, 20, q(SELECT count(*) FROM durable.instances WHERE instance_id ^@ 'orders ' AND completed_time IS NULL),
	'so do many small ones', '0');
cmp_ok($node->safe_psql('postgres', q(SELECT extract(epoch FROM max(completed_time) - min(created_time)) FROM durable.instances WHERE instance_id ~ '^(fan|orders )')),
	'<', 2.5 * seconds_bar($node), 'without waiting for deadlocks');
is($node->safe_psql('postgres', q(SELECT string_agg(DISTINCT failure ->> 'sqlstate', ', ') FROM durable.instances WHERE instance_id ~ '^(fan|orders )' AND runtime_status <> 'Completed')), '',
	'no activity fails by a deadlock');
is(sql('SELECT sum(n) FROM acc'), 400 * 4 + ($rc == 0 ? 20 * 2 : 0), 'each update was made once');
once();
end_scene($node);

# Code that catches what interrupts it does not take its failure branch.
begin_scene('handlers');
change_setting($node, 'durable.max_workers', 2);
sql(q[
	CREATE FUNCTION tries_to_sleep() RETURNS text LANGUAGE plpgsql AS $$
	BEGIN
		BEGIN
			PERFORM pg_sleep(0.2);
			RETURN effect('slept');
		EXCEPTION WHEN query_canceled OR lock_not_available OR OTHERS THEN
			RETURN effect('caught ' || SQLSTATE);
		END;
	END $$;
	CREATE FUNCTION tries_to_lock() RETURNS text LANGUAGE plpgsql AS $$
	BEGIN
		BEGIN
			PERFORM FROM acc WHERE id = 1 FOR SHARE;
			RETURN effect('locked');
		EXCEPTION WHEN query_canceled OR lock_not_available OR OTHERS THEN
			RETURN effect('caught ' || SQLSTATE);
		END;
	END $$;
	CREATE FUNCTION turn_tries_to_sleep() RETURNS text LANGUAGE plpgsql AS $$
	BEGIN
		BEGIN
			PERFORM pg_sleep(0.2);
		EXCEPTION WHEN query_canceled OR lock_not_available OR OTHERS THEN
			RETURN 'caught ' || SQLSTATE;
		END;
		RETURN durable.call_activity('effect', '"turn"');
	END $$;
]);
my $client = client('UPDATE acc SET n = n WHERE id = 1');
sql(q[
	SELECT durable.start_new('run', to_jsonb(name), name || i) FROM unnest(ARRAY['tries_to_sleep', 'tries_to_lock']) name, generate_series(1, 5) i;
	SELECT durable.start_new('turn_tries_to_sleep', instance_id => 'turn_tries' || i) FROM generate_series(1, 3) i]);
others('a hello beside code that catches errors');
poll_within($node, seconds_bar($node), "SELECT count(*) $lock_wait", 'activities wait for a lock', '5');
release($client);
poll_within($node, 10, q(SELECT count(*) FROM durable.instances WHERE completed_time IS NULL), 'all end', '0');
is(sql(q(SELECT string_agg(format('%s %s', note, count), ', ' ORDER BY note) FROM (SELECT note, count(*) FROM effects WHERE note NOT LIKE 'Hello%' GROUP BY 1) e)),
	'locked 5, slept 5, turn 3', 'no handler has seen an interrupt');
once();

# Code that catches every interrupt in an endless loop, which only the end of its process can stop.
sql(q[
	CREATE TABLE stop ();
	CREATE FUNCTION catches_all() RETURNS text LANGUAGE plpgsql AS $$
	BEGIN
		LOOP
			BEGIN
				EXIT WHEN EXISTS (SELECT FROM stop);
				PERFORM pg_sleep(0.05);
			EXCEPTION WHEN query_canceled OR OTHERS THEN NULL;
			END;
		END LOOP;
		RETURN effect('stopped');
	END $$;
	CREATE FUNCTION catches_none() RETURNS text LANGUAGE plpgsql AS $$
	BEGIN
		LOOP
			BEGIN
				EXIT WHEN EXISTS (SELECT FROM stop);
				PERFORM 1 / 0;
			EXCEPTION WHEN OTHERS THEN NULL;
			END;
		END LOOP;
		RETURN effect('stopped');
	END $$;
	SELECT durable.start_new('run', to_jsonb(name), name || i) FROM unnest(ARRAY['catches_all', 'catches_none']) name, generate_series(1, 2) i]);
others('a hello beside endless loops that catch errors');
others('a second hello beside endless loops');
sql('INSERT INTO stop DEFAULT VALUES');
poll_within($node, 10, q(SELECT count(*) FROM durable.instances WHERE completed_time IS NULL), 'loops end', '0');
is(sql(q(SELECT count(*) FROM effects WHERE note = 'stopped')), 4, 'once each');
once();
end_scene($node);

# Timeouts shorter and longer than the patience.
begin_scene('timeouts');
sql(q[
	CREATE FUNCTION nap(seconds float) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM effect('nap'); PERFORM pg_sleep(seconds); RETURN 'awake'; END $$;
	CREATE FUNCTION try(seconds float, timeout interval) RETURNS text LANGUAGE plpgsql AS $$
	BEGIN
		RETURN durable.call_activity('nap', to_jsonb(seconds), timeout => timeout) #>> '{}';
	EXCEPTION WHEN SQLSTATE 'OD006' THEN
		RETURN 'timed out';
	END $$;
	SELECT durable.start_new('try', jsonb_build_array(seconds, timeout), name || i)
	  FROM (VALUES ('shorter', 600, '5 ms'), ('equal', 600, '20 ms'), ('longer', 600, '200 ms'), ('enough', 0.1, '1 min')) v (name, seconds, timeout),
	       generate_series(1, 3) i]);
others('a hello beside timeouts');
poll_within($node, 2 * seconds_bar($node), q(SELECT count(*) FROM durable.instances WHERE completed_time IS NULL), 'all end', '0');
is(sql(q(SELECT string_agg(DISTINCT output #>> '{}', ', ') FROM durable.instances WHERE name LIKE '%try' AND instance_id !~ 'enough')), 'timed out', 'timeouts end what takes longer');
is(sql(q(SELECT string_agg(DISTINCT output #>> '{}', ', ') FROM durable.instances WHERE name LIKE '%try' AND instance_id ~ 'enough')), 'awake', 'and nothing else');
is(sql(q(SELECT count(*) FROM effects WHERE note = 'nap')), 3, 'what timed out has no effect');
once();
watchdog_ok($dog);
end_scene($node);

# An activity was undone and waits for a long place; then its instance is terminated, times out or is suspended.
begin_scene('undone');
change_setting($node, 'durable.max_long_activities', 1);
sql(q[
	CREATE FUNCTION undone() RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM nextval('tries'); PERFORM pg_sleep(0.3); RETURN effect('undone'); END $$;
	CREATE FUNCTION undone_timeout() RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		RETURN durable.call_activity('undone', timeout => '100 ms');
	EXCEPTION WHEN SQLSTATE 'OD006' THEN
		RETURN '"timed out"';
	END $$;
	SELECT durable.start_new('run', '"hang"', instance_id => 'holds the place')]);
poll_within($node, seconds_bar($node), "SELECT count(*) $sleeping", 'a sleeper has the long place', '1');
foreach my $cancel ('false', 'true')
{
	my $id = "undone $cancel";
	sql(qq[ALTER SEQUENCE tries RESTART; SELECT durable.start_new('run', '"undone"', instance_id => '$id')]);
	poll_within($node, seconds_bar($node), "SELECT is_called FROM $scene.tries", "cancel_activities $cancel: the activity is tried");
	poll_within($node, seconds_bar($node), "SELECT pid IS NULL FROM durable.activities WHERE instance_id = '$id'", "cancel_activities $cancel: and undone");
	others('a hello beside one that was undone');
	sql("SELECT durable.terminate('$id', cancel_activities => $cancel)");
	poll_within($node, seconds_bar($node), "SELECT runtime_status FROM durable.get_status('$id')", "cancel_activities $cancel: it is terminated", 'Terminated');
}
# What has taken long once, as a busy machine makes everything, does not wait for what sleeps: it is tried again.
sql(q[
	CREATE TABLE quick ();
	CREATE FUNCTION busy_step() RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.3) WHERE to_regclass('quick_now') IS NULL; RETURN 'done'; END $$;
	CREATE FUNCTION busy_turn() RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.3) WHERE to_regclass('quick_now') IS NULL; RETURN 'done'; END $$;
	SELECT durable.start_new('run', '"busy_step"', instance_id => 'busy activity'), durable.start_new('busy_turn', instance_id => 'busy turn')]);
poll_within($node, seconds_bar($node), q(SELECT count(*) FROM durable.activities WHERE instance_id = 'busy activity' AND state = 'waiting for a place'), 'an activity was interrupted', '1');
poll_within($node, seconds_bar($node), q(SELECT durable.turn_state('busy turn')), 'a turn was interrupted', 'waiting for a place');
sql('ALTER TABLE quick RENAME TO quick_now');
poll_within($node, 5 * seconds_bar($node), "SELECT runtime_status FROM durable.get_status('$_')", "$_: tried again", 'Completed') foreach 'busy activity', 'busy turn';
is($node->safe_psql('postgres', "SELECT count(*) $sleeping"), '1', '... while the sleeper has the place');
# What waits for a lock meanwhile is tried once a second, not all the time.
my $locker = client('UPDATE acc SET n = n WHERE id = 900');
sql(q[
	CREATE SEQUENCE lock_tries;
	CREATE FUNCTION locked_step() RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM nextval('lock_tries'); UPDATE acc SET n = n + 1 WHERE id = 900; RETURN 'done'; END $$;
	SELECT durable.start_new('run', '"locked_step"', instance_id => 'locked activity')]);
poll_within($node, 5 * seconds_bar($node), q(SELECT last_value >= 3 FROM lock_tries) =~ s/lock_tries/$scene.lock_tries/r, 'it is tried again', 't');
cmp_ok(sql(q(SELECT last_value / extract(epoch FROM clock_timestamp() - created_time) FROM lock_tries, durable.instances WHERE instance_id = 'locked activity')), '<', 4, '... not all the time');
release($locker);
poll_within($node, 5 * seconds_bar($node), q(SELECT runtime_status FROM durable.get_status('locked activity')), 'and when the lock is gone', 'Completed');
# at the very moment at which it is undone
sql(q[
	DO $$
	BEGIN
		FOR i IN 1 .. 20 LOOP
			PERFORM durable.start_new('run', '"undone"', instance_id => 'moment ' || i);
			COMMIT;
			PERFORM pg_sleep(0.002 * i);
			PERFORM durable.terminate('moment ' || i, cancel_activities => i % 2 = 0);
			COMMIT;
		END LOOP;
	END $$]);
poll_within($node, seconds_bar($node), q(SELECT string_agg(DISTINCT runtime_status::text, ', ') FROM durable.instances WHERE instance_id ^@ 'moment '),
	'terminated whenever that comes', 'Terminated');
sql(q[
	SELECT durable.start_new('undone_timeout', instance_id => 'undone with timeout');
	SELECT durable.start_new('run', '"undone"', instance_id => 'undone and suspended')]);
poll_within($node, seconds_bar($node), q(SELECT count(*) FROM durable.activities WHERE instance_id ^@ 'undone' AND pid IS NULL), 'two more are undone', '2');
sql(q(SELECT durable.suspend('undone and suspended')));
sql(q(SELECT durable.terminate('holds the place', cancel_activities => true)));
poll_within($node, seconds_bar($node), q(SELECT output FROM durable.get_status('undone with timeout')), 'a timeout holds in the lone run', '"timed out"');
poll_within($node, seconds_bar($node), qq(SELECT count(*) FROM $scene.effects WHERE note = 'undone'), 'an activity of a suspended instance runs', '1');
sql(q(SELECT durable.resume('undone and suspended')));
poll_within($node, seconds_bar($node), q(SELECT runtime_status FROM durable.get_status('undone and suspended')), 'which completes when it is resumed', 'Completed');
is(sql(q(SELECT string_agg(DISTINCT instance, ', ') FROM effects WHERE note = 'undone')), 'undone and suspended', 'what was terminated has no effect');
once();
end_scene($node);
change_setting($node, 'durable.max_long_activities', 16);

# What leaves a trace outside the transaction is not tried.
begin_scene('outside');
my $connection = sprintf('host=%s port=%s dbname=postgres', $node->host, $node->port);
my $file = "$PostgreSQL::Test::Utils::tmp_check/outside";
sql(qq[
	CREATE TABLE calls (name text);
	CREATE FUNCTION program() RETURNS void LANGUAGE plpgsql AS \$\$
	BEGIN
		PERFORM effect('program');
		COPY (SELECT 'call') TO PROGRAM 'cat >>$file';
		PERFORM pg_sleep(0.1);
	END \$\$;
]);
my @names = ('program');
sub calls
{
	my ($name) = @_;

	return -e $file ? scalar(() = slurp_file($file) =~ /call/g) : 0 if $name eq 'program';
	return sql("SELECT count(*) FROM calls WHERE name = '$name'");
}
if ($node->safe_psql('postgres', q(SELECT count(*) FROM pg_available_extensions WHERE name = 'dblink')) eq '1')
{
	push @names, 'dblink', 'dblink_function';
	$node->safe_psql('postgres', 'CREATE EXTENSION dblink');
	sql(qq[
		SET search_path = $scene, public;
		CREATE FUNCTION dblink() RETURNS void LANGUAGE plpgsql AS \$\$
		BEGIN
			PERFORM effect('dblink');
			PERFORM public.dblink_exec('$connection', 'INSERT INTO outside.calls VALUES (''dblink'')');
			PERFORM pg_sleep(0.1);
		END \$\$;
		-- called by a function in SQL
		CREATE FUNCTION outside_call() RETURNS text LANGUAGE sql AS \$\$
			SELECT public.dblink_exec('$connection', 'INSERT INTO outside.calls VALUES (''dblink_function'')') \$\$;
		CREATE FUNCTION dblink_function() RETURNS void LANGUAGE plpgsql AS \$\$
		DECLARE
			result text;
		BEGIN
			PERFORM effect('dblink');
			result := outside_call();
			PERFORM pg_sleep(0.1);
		END \$\$]);
}
if ($node->safe_psql('postgres', q(SELECT count(*) FROM pg_available_extensions WHERE name = 'plpython3u')) eq '1')
{
	push @names, 'python', 'python_inside';
	$node->safe_psql('postgres', 'CREATE EXTENSION plpython3u');
	sql(qq[
		CREATE FUNCTION python() RETURNS text LANGUAGE plpython3u AS \$\$
open('$file.python', 'a').write('python,')
plpy.execute("SELECT outside.effect('python'), pg_sleep(0.1)")
return plpy.execute('SELECT pg_current_xact_id()')[0]['pg_current_xact_id']
\$\$;
		CREATE FUNCTION python_call() RETURNS void LANGUAGE plpython3u AS \$\$ open('$file.python', 'a').write('inside,') \$\$;
		CREATE FUNCTION python_inside() RETURNS void LANGUAGE plpgsql AS \$\$
		BEGIN
			PERFORM effect('python'), python_call(), pg_sleep(0.1);
		END \$\$;
		-- runs alone though quick
		CREATE FUNCTION python_quick() RETURNS text LANGUAGE plpython3u AS \$\$
return plpy.execute('SELECT pg_current_xact_id()')[0]['pg_current_xact_id']
\$\$]);
}
my $list = join(', ', map { "'$_'" } @names);
sql("SELECT durable.start_new('run', to_jsonb(name), format('%s_%s', name, i)) FROM unnest(ARRAY[$list]) name, generate_series(1, 10) i");
others('a hello beside what leaves traces');
poll_within($node, 4 * seconds_bar($node), q(SELECT count(*) FROM durable.instances WHERE completed_time IS NULL), 'all end', '0');
is($node->safe_psql('postgres', q(SELECT string_agg(instance_id || failure, ', ') FROM durable.instances WHERE instance_id ~ '^(program|dblink|python)' AND runtime_status <> 'Completed')), '',
	'none has failed');
foreach my $name (grep { !/python/ } @names)
{
	is(calls($name), 10, "$name: 10 instances make 10 calls");
}
if (grep { /python/ } @names)
{
	my $python = slurp_file("$file.python");
	is(scalar(() = $python =~ /python,/g), 10, 'PL/Python: 10 instances make 10 calls');
	is(scalar(() = $python =~ /inside,/g), 10, 'PL/Python called by PL/pgSQL: 10 instances make 10 calls');
}
once();
end_scene($node);

# Functions that run alone, each in a transaction of its own, however quick they are.
my $alone = sub {
	my ($name, $what, $test) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	# twice, as the first calls are run alone in any case where nothing is known of them
	foreach my $round (1, 2)
	{
		sql(qq(SELECT durable.start_new('run', '"$name"', format('%s_%s_%s', '$name', $round, i)) FROM generate_series(1, 40) i));
		poll_within($node, 4 * seconds_bar($node), "SELECT count(*) FROM durable.instances WHERE instance_id ^@ '${name}_$round' AND completed_time IS NULL", "$what: all end", '0');
	}
	return cmp_ok(sql("SELECT count(DISTINCT output) FROM durable.instances WHERE instance_id ^@ '${name}_2'"), $test, 40, $what);
};
$alone->('python_quick', 'PL/Python runs in a transaction of its own', '==') if grep { /python/ } @names;
sql(q(CREATE FUNCTION quick() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN pg_current_xact_id(); END $$));
$alone->('quick', 'quick activities share transactions', '<');
sql(q(CREATE FUNCTION quick_alone() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN pg_current_xact_id(); END $$));
($rc, $out, $err) = $node->psql('postgres', 'ALTER FUNCTION outside.quick_alone() SET durable.run_alone = on');
is($rc, 0, 'a function can say that it runs alone') or diag($err);
$alone->('quick_alone', 'a function that says so runs in a transaction of its own', '==');

is($node->safe_psql('postgres', 'SELECT * FROM durable_internal.violations'), '', 'no violations');
$node->stop;
done_testing();
