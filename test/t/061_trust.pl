# An administrator trusts nobody's objects: what a superuser does with the instances and functions of a hostile tenant,
# under a search_path of hostile schemas, runs nothing of the tenant's with the superuser's rights and leaves the session
# as it was. And the rules of the source by which that holds.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use DurableTest;

my $sharedir = `$ENV{PG_CONFIG} --sharedir` =~ s/\n//r;
my $cron = -e "$sharedir/extension/pg_cron.control";
my $node = durable_node('trust', conf => "durable.worker_idle_timeout = 1h\n"
	. ($cron ? "shared_preload_libraries = 'durable,pg_cron'\ncron.database_name = 'postgres'\n" : ''));

#
# The source.
#

sub source
{
	my ($file) = @_;
	my $text = slurp_file($file);

	$text =~ s{/\*.*?\*/}{}gs;
	return $text;
}

my %source = map { $_ => source($_) } grep { !m{^src/gateway/} } glob 'src/*/*.c';
cmp_ok(scalar(keys %source), '>', 40, 'the source is here');

sub files_with
{
	my ($pattern) = @_;

	return join q( ), sort map { s{.*/}{}r } grep { $source{$_} =~ $pattern } keys %source;
}

# Nobody takes another role's rights to run code of that role in a session of somebody else. instance_create.c inserts a row, and table_access.c
# prepares the expressions of the engine's own indexes, both as the owner of the engine's tables and with no code of users;
# restart.c looks a name up; extension.c calls functions of the extension as their owner; bgworkers.c makes sure that the scheduler is who it should be.
is(files_with(qr/\bSetUserId(?:AndSecContext)?\b|\bSetSessionAuthorization\b|\bSetCurrentRoleId\b/), 'bgworkers.c extension.c instance_create.c restart.c table_access.c', 'files that switch the role');
is(files_with(qr/\bAtEOXact_GUC\s*\(\s*true/), '', 'settings are never kept');
# Whatever looks up, converts for or calls functions of users: turns and activities (user_call.c),
# statements of activities (sql_activity.c), and the caller's own (client.c, restart.c, function_checker.c).
is(files_with(qr/\b(?:function_lookup|function_call)\s*\(/),
	'client.c function_call.c function_checker.c function_lookup.c restart.c user_call.c', 'files that reach functions of users');
is(files_with(qr/\buser_call\s*\(/), 'activity.c sub_orchestration_start.c turn.c user_call.c', 'files that do so through the door of workers');
# The scheduler loads no instance, and none of the files with what it changes and stores knows the door, nor what leads to it.
unlike($source{(glob "src/*/$_.c")[0]}, qr/\b(?:instance_load|history_between|messages_take)\s*\(/, "$_.c reads no histories and messages") for qw(scheduler launcher owner_adoption worker_loss);
for my $file (qw(scheduler launcher owner_adoption worker_loss instance_cache history_decode lifecycle retry_policy rewind sub_orchestration turn_effects history_rows inbox_rows instance_rows table_access))
{
	is(join(' ', $source{(glob "src/*/$file.c")[0]} =~ m{^#include "(call/[^"]*|engine/(?:sub_orchestration_start|activity)\.h)"}mg), '',
		"$file.c, which the scheduler uses, does not know the functions of users");
}
is(files_with(qr/\bturn_run\s*\(/), 'turn.c worker.c', 'turns are run by workers');
is(files_with(qr/\bactivity_run\s*\(/), 'activity.c activity_runner.c worker.c', 'so are activities');
is(files_with(qr/\bstart_(?:new_children|due_child)\s*\(/), 'sub_orchestration_start.c turn.c worker.c', 'and children are started');

# Every query of the library is a literal, or a macro named *_QUERY that is one, and is tried below, or is built of quoted names (function_call.c), or is the user's (sql_activity.c).
my %query;
for my $file (sort keys %source)
{
	while ($source{$file} =~ /^#define (\w+_QUERY)\s*\\?\n?((?:[ \t]*"(?:[^"\\]|\\.)*"\s*(?:\\\n)?)+)/mg)
	{
		my ($name, $text) = ($1, $2);
		$query{$name} = join '', $text =~ /"((?:[^"\\]|\\.)*)"/g;
	}
	my @used = $source{$file} =~ /\bSPI_(?:prepare\w*|execute|execute_with_args|execute_extended|exec|cursor_parse_open)\s*\(\s*([^,]+),/g;
	$query{"$file: $_"} = substr($_, 1, -1) for grep { /^"/ } @used;
	my @other = grep { !/^"/ && !defined $query{$_} } @used;
	my $allowed = { 'src/call/function_call.c' => 'set_query(fn)', 'src/call/sql_activity.c' => 'statement', 'src/common/extension.c' => 'query' }->{$file} // '';
	is(join(' ', @other), $allowed, "$file: queries") if @used;
}
my %types = (PAGE_QUERY => '(pg_catalog.text[], pg_catalog.bool, pg_catalog.text)');
cmp_ok(scalar(keys %query), '>=', 2, 'queries of the library');

# Those of the gateway, as the preprocessor makes them.
my $statements = slurp_file('src/gateway/statements.c');
my ($texts) = $statements =~ /(#define TIME.*?^\};)/ms;
my $cc = $ENV{CC} // 'cc';
append_to_file("$ENV{TESTDIR}/statements.c", $texts);
{
	my $expanded = `$cc -E -P -x c '$ENV{TESTDIR}/statements.c'`;

	while ($expanded =~ /\[(QUERY_\w+)\]\s*=\s*\{\s*"[^"]*"\s*,((?:\s*"(?:[^"\\]|\\.)*")+)/g)
	{
		my ($name, $text) = ($1, $2);
		$query{$name} = (join '', $text =~ /"((?:[^"\\]|\\.)*)"/g) =~ s/\\"/"/gr;
	}
}
cmp_ok(scalar(grep { /^QUERY_/ } keys %query), '>', 15, 'queries of the gateway');

#
# A hostile schema: every function, operator and type of PostgreSQL's own that an ordinary role can shadow, with the same
# argument types, and first in the search_path. Each says who calls it, and if that is not the tenant makes it superuser.
#
$node->safe_psql('postgres', q[
CREATE ROLE tenant LOGIN;
CREATE ROLE neighbour LOGIN;
SELECT durable.grant_usage('tenant'), durable.grant_usage('neighbour');
CREATE SCHEMA hostile AUTHORIZATION tenant;
CREATE SCHEMA tenant AUTHORIZATION tenant;
GRANT USAGE ON SCHEMA tenant, hostile TO PUBLIC;
CREATE TABLE public.written (what text);
GRANT ALL ON public.written TO PUBLIC;
CREATE SEQUENCE public.numbers;
GRANT ALL ON public.numbers TO PUBLIC;
SET ROLE tenant;
CREATE FUNCTION tenant.seize(what text) RETURNS boolean LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF current_user NOT IN ('tenant') THEN
		RAISE WARNING 'SEIZED: % called %', current_user, what;
		EXECUTE 'ALTER ROLE tenant SUPERUSER';
	END IF;
	RETURN true;
EXCEPTION WHEN OTHERS THEN
	RETURN true;
END $$;
DO $$
DECLARE
	made integer := 0;
	shadow record;
BEGIN
	FOR shadow IN
		SELECT p.oid, p.proname, pg_get_function_identity_arguments(p.oid) AS arguments, format_type(p.prorettype, NULL) AS result, p.proretset
		  FROM pg_proc p
		 WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.prokind = 'f' AND p.provariadic = 0 AND p.proallargtypes IS NULL
		   AND NOT EXISTS (SELECT FROM unnest(p.proargtypes::oid[] || p.prorettype) a JOIN pg_type t ON t.oid = a WHERE t.typtype = 'p')
	LOOP
		EXECUTE format('CREATE FUNCTION hostile.%I(%s) RETURNS %s%s LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS %L', shadow.proname, shadow.arguments,
			CASE WHEN shadow.proretset THEN 'SETOF ' ELSE '' END, shadow.result,
			format('BEGIN PERFORM tenant.seize(%L); RETURN%s; END', shadow.oid::regprocedure::text, CASE WHEN shadow.proretset THEN '' ELSE ' NULL' END));
		made := made + 1;
	END LOOP;
	IF made < 1500 THEN RAISE 'only % functions', made; END IF;
	FOR shadow IN
		SELECT o.oprname, o.oprleft::regtype AS leftarg, o.oprright::regtype AS rightarg, p.proname
		  FROM pg_operator o JOIN pg_proc p ON p.oid = o.oprcode
		  JOIN pg_proc h ON h.proname = p.proname AND h.pronamespace = 'hostile'::regnamespace AND h.proargtypes = p.proargtypes
		 WHERE o.oprnamespace = 'pg_catalog'::regnamespace AND p.pronamespace = 'pg_catalog'::regnamespace
	LOOP
		EXECUTE format('CREATE OPERATOR hostile.%s (FUNCTION = hostile.%I, %sRIGHTARG = %s)', shadow.oprname, shadow.proname,
			CASE shadow.leftarg WHEN 0 THEN '' ELSE format('LEFTARG = %s, ', shadow.leftarg) END, shadow.rightarg);
	END LOOP;
	FOR shadow IN
		SELECT typname FROM pg_type t WHERE typnamespace = 'pg_catalog'::regnamespace AND typtype = 'b' AND typelem = 0 AND typname !~ '^pg_'
	LOOP
		EXECUTE format('CREATE DOMAIN hostile.%I AS pg_catalog.%1$I CHECK (tenant.seize(%L))', shadow.typname, 'type ' || shadow.typname);
	END LOOP;
	-- what is polymorphic is shadowed for the types that matter
	FOR shadow IN SELECT unnest('{text,jsonb,integer,bigint,timestamptz,regrole,name,oid,durable.runtime_status}'::regtype[]) AS type LOOP
		EXECUTE format('CREATE FUNCTION hostile.to_jsonb(%s) RETURNS jsonb LANGUAGE plpgsql AS %L', shadow.type, 'BEGIN PERFORM tenant.seize(''to_jsonb''); RETURN NULL; END');
		EXECUTE format('CREATE FUNCTION hostile.unnest(%s[]) RETURNS SETOF %1$s LANGUAGE plpgsql AS %L', shadow.type, 'BEGIN PERFORM tenant.seize(''unnest''); RETURN; END');
	END LOOP;
	CREATE FUNCTION hostile.status_equal(durable.runtime_status, durable.runtime_status) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RETURN tenant.seize(''status =''); END';
	CREATE OPERATOR hostile.= (FUNCTION = hostile.status_equal, LEFTARG = durable.runtime_status, RIGHTARG = durable.runtime_status);
	CREATE FUNCTION hostile.format(text, VARIADIC text[]) RETURNS text LANGUAGE plpgsql AS 'BEGIN PERFORM tenant.seize(''format''); RETURN NULL; END';
	CREATE FUNCTION hostile.start_new(text, jsonb, text) RETURNS text LANGUAGE plpgsql AS 'BEGIN PERFORM tenant.seize(''start_new''); RETURN NULL; END';
	CREATE TABLE hostile.pg_proc (oid oid, proname name);
	CREATE TABLE hostile.pg_extension (extname name, extversion text);
	CREATE TABLE hostile.pg_roles (oid oid);
	CREATE TABLE hostile.instances (instance_id text);
END $$;
]);
my $hostile = 'SET search_path = hostile, pg_catalog';
is(($node->psql('postgres', "$hostile; SELECT 1 = 1"))[2] =~ /SEIZED/ ? 1 : 0, 1, 'an unqualified operator would be seen');
$node->safe_psql('postgres', 'ALTER ROLE tenant NOSUPERUSER');
ok($node->safe_psql('postgres', q[SELECT rolsuper FROM pg_roles WHERE rolname = 'tenant']) eq 'f', 'before all that the tenant is an ordinary role');

#
# No name of a query is found in the hostile schema: a function of it in SQL-standard form would depend on that.
#
for my $name (sort keys %query)
{
	if ($query{$name} =~ /^DO /)
	{
		my ($rc, $out, $err) = $node->psql('postgres', "$hostile; $query{$name}");
		is($err, '', "$name runs under a hostile search_path");
		next;
	}
	my $types = $types{$name} // '';
	my ($rc, $out, $err) = $node->psql('postgres', qq[$hostile;
		PREPARE q $types AS $query{$name};
		SELECT pg_catalog.array_to_string(parameter_types::pg_catalog.text[], ', ') AS types FROM pg_catalog.pg_prepared_statements \\gset
		BEGIN;
		CREATE FUNCTION tenant.q(:types) RETURNS pg_catalog.void BEGIN ATOMIC $query{$name}; END;
		SET search_path = pg_catalog;
		SELECT coalesce(string_agg(pg_describe_object(refclassid, refobjid, refobjsubid), ', '), 'nothing')
		  FROM pg_depend
		 WHERE objid = to_regproc('tenant.q')
		   AND (pg_identify_object(refclassid, refobjid, 0)).schema IN ('hostile');
		ROLLBACK;]);
	is("$out$err", 'nothing', "$name is qualified");
}

#
# What a tenant does where it gets its code to run in a superuser's session: whatever may outlast the call.
#
my $tamper = q[
CREATE FUNCTION tenant.tamper() RETURNS boolean LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $f$
DECLARE
	statement text;
	setting record;
	admins refcursor := 'admins';
	loops refcursor;
	row record;
BEGIN
	-- once in each statement is enough
	IF session_user = 'tenant' OR current_setting('my.tampered', true) = statement_timestamp()::text THEN
		RETURN true;
	END IF;
	PERFORM tenant.seize('tamper');
	FOREACH statement IN ARRAY ARRAY[
		'RESET ROLE', 'SET ROLE NONE', 'SET ROLE postgres', 'RESET SESSION AUTHORIZATION', 'SET SESSION AUTHORIZATION tenant', 'SET SESSION AUTHORIZATION DEFAULT',
		'SELECT pg_catalog.set_config(''role'', ''postgres'', false)', 'SELECT pg_catalog.set_config(''session_authorization'', ''tenant'', false)',
		'SET transaction_read_only = off', 'RESET transaction_read_only', 'SET TRANSACTION READ WRITE', 'ALTER ROLE tenant SUPERUSER',
		'INSERT INTO public.written VALUES (current_user)', 'SELECT nextval(''public.numbers'')', 'SELECT setval(''public.numbers'', 99)',
		'CREATE TABLE tenant.made ()', 'CREATE TEMP TABLE made ()', 'CREATE TYPE pg_temp.made AS (a int)', 'DROP TABLE kept', 'SELECT * FROM kept',
		'PREPARE made AS SELECT 1', 'DEALLOCATE kept', 'DEALLOCATE ALL', 'DISCARD ALL', 'DISCARD PLANS', 'DISCARD TEMP', 'DISCARD SEQUENCES', 'RESET ALL',
		'LISTEN made', 'UNLISTEN *', 'NOTIFY kept, ''made''', 'SELECT pg_notify(''kept'', ''made'')',
		'DECLARE made CURSOR WITH HOLD FOR SELECT 1', 'DECLARE made CURSOR FOR SELECT 1', 'FETCH admins', 'MOVE admins', 'CLOSE admins', 'CLOSE ALL',
		'SELECT pg_advisory_lock(1)', 'SELECT pg_advisory_lock_shared(2)', 'SELECT pg_try_advisory_lock(3)', 'SELECT pg_try_advisory_lock_shared(3, 3)',
		'SELECT pg_advisory_xact_lock(4)', 'SELECT pg_advisory_unlock(42)', 'SELECT pg_advisory_unlock_shared(43)', 'SELECT pg_advisory_unlock_all()',
		'SELECT setseed(0.5)', 'SELECT lo_close(0)', 'SELECT loread(0, 10)', 'SELECT lowrite(0, ''x'')', 'SELECT lo_lseek(0, 3, 0)', 'SELECT lo_open(lo_creat(-1), 262144)',
		'LOCK TABLE public.written IN ACCESS EXCLUSIVE MODE', 'LOCK TABLE public.written IN ACCESS SHARE MODE', 'SET CONSTRAINTS ALL IMMEDIATE', 'SET CONSTRAINTS ALL DEFERRED',
		'COPY (SELECT 1) TO PROGRAM ''cat >/dev/null''', 'COPY (SELECT 1) TO ''/tmp/durable-made''', 'SELECT pg_read_file(''PG_VERSION'')', 'SELECT lo_export(lo_creat(-1), ''/tmp/durable-made'')',
		'SELECT pg_reload_conf()', 'SELECT set_config(''my.setting'', ''made'', false)', 'SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY',
		'SELECT pg_stat_reset()', 'SELECT pg_cancel_backend(pg_backend_pid()), 1 / 0', 'SELECT pg_terminate_backend(pg_backend_pid())',
		'SELECT pg_export_snapshot()', 'SAVEPOINT made', 'COMMIT', 'SELECT durable.start_new(''tenant.orch'', ''1'')', 'SELECT durable.restart(''bait'')', 'LOAD ''plpgsql''']
	LOOP
		BEGIN
			EXECUTE statement;
			IF statement ~ 'PROGRAM|_file|ALTER ROLE|reload|^(RE)?SET.*(ROLE|AUTH)|WRITE|nextval|INSERT' THEN
				RAISE WARNING 'SEIZED: ran %', statement;
			END IF;
		EXCEPTION WHEN OTHERS THEN
			NULL;
		END;
	END LOOP;
	BEGIN
		FETCH admins INTO row;
		RAISE WARNING 'SEIZED: read % from a cursor', row;
	EXCEPTION WHEN OTHERS THEN
		NULL;
	END;
	FOR row IN SELECT name FROM pg_cursors WHERE name !~ 'made' LOOP
		BEGIN
			loops := row.name;
			CLOSE loops;
			RAISE WARNING 'SEIZED: closed %', loops;
		EXCEPTION WHEN OTHERS THEN
			NULL;
		END;
	END LOOP;
	FOR setting IN
		SELECT name, CASE vartype WHEN 'bool' THEN CASE s.setting WHEN 'on' THEN 'off' ELSE 'on' END WHEN 'enum' THEN enumvals[1]
		                          WHEN 'string' THEN 'made' ELSE coalesce(nullif(max_val, s.setting), min_val) END AS value
		  FROM pg_settings s
		 -- exit_on_error makes an end of the session with the next error, which is no gain; some would make the rest slow
		 WHERE context IN ('user', 'superuser') AND name NOT IN ('statement_timeout', 'lock_timeout', 'client_min_messages', 'exit_on_error') AND name !~ '^(debug|jit|log)_'
	LOOP
		BEGIN
			PERFORM set_config(setting.name, setting.value, false);
		EXCEPTION WHEN OTHERS THEN
			NULL;
		END;
	END LOOP;
	PERFORM set_config('search_path', 'tenant, pg_catalog', false), set_config('my.tampered', statement_timestamp()::text, false);
	RETURN true;
END $f$;
CREATE FUNCTION tenant.tamper_and_fail() RETURNS boolean LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM tenant.tamper();
	IF session_user <> 'tenant' THEN
		RAISE EXCEPTION 'after all' USING ERRCODE = 'P4242';
	END IF;
	RETURN true;
END $$;
CREATE FUNCTION tenant.folded(what text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN tenant.tamper() AND tenant.seize(what); END $$;
CREATE FUNCTION tenant.folded_and_fails() RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN tenant.tamper_and_fail(); END $$;
CREATE DOMAIN tenant.checked AS text CHECK (tenant.tamper());
CREATE DOMAIN tenant.failing AS text CHECK (tenant.tamper_and_fail());
CREATE TYPE tenant.row AS (a tenant.checked, b int);
CREATE TYPE tenant.word AS ENUM ('a', 'b');
CREATE FUNCTION tenant.to_word(text) RETURNS tenant.word LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM tenant.folded('cast'); RETURN 'a'; END $$;
CREATE FUNCTION tenant.word_equal(tenant.word, text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN tenant.folded('='); END $$;
CREATE OPERATOR tenant.= (FUNCTION = tenant.word_equal, LEFTARG = tenant.word, RIGHTARG = text);
CREATE FUNCTION tenant.eq(text, text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM tenant.folded('text ='); RETURN $1 OPERATOR(pg_catalog.=) $2; END $$;
CREATE OPERATOR tenant.= (FUNCTION = tenant.eq, LEFTARG = text, RIGHTARG = text);
CREATE TABLE tenant.source (a text, b int);
CREATE INDEX ON tenant.source ((b + 1)) WHERE a = 'x';
CREATE FUNCTION tenant.default() RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM tenant.tamper(); RETURN 'x'; END $$;
CREATE FUNCTION tenant.orch(x tenant.checked, y text DEFAULT tenant.default(), z tenant.row DEFAULT NULL) RETURNS text LANGUAGE plpgsql SET search_path = pg_catalog AS $$ BEGIN RETURN x; END $$;
CREATE FUNCTION tenant.refusing(x tenant.failing) RETURNS text LANGUAGE plpgsql SET search_path = pg_catalog AS $$ BEGIN RETURN x; END $$;
CREATE FUNCTION tenant.plain() RETURNS text LANGUAGE plpgsql SET search_path = pg_catalog AS $$ BEGIN RETURN durable.wait_for_external_event('go'); END $$;
-- for plpgsql_check: whatever it may evaluate
CREATE FUNCTION tenant.flow(a text DEFAULT tenant.default()) RETURNS text LANGUAGE plpgsql SET search_path = tenant, pg_catalog AS $$
DECLARE
	x tenant.checked := 'x';
	r tenant.row := ROW('x', 1);
	w tenant.word := 'a';
	b boolean := tenant.folded('a declaration');
	c CURSOR (n int) FOR SELECT * FROM tenant.source WHERE tenant.folded('a cursor');
	t record;
BEGIN
	PERFORM durable.call_activity('hello', '"x"');
	PERFORM tenant.folded('a statement'), 'a' = 'b', w = 'a'::text;
	IF tenant.folded('a condition') THEN
		x := 'y'; r.a := 'z'; r := ('a', 1);
	END IF;
	CASE a WHEN 'a' THEN NULL; ELSE NULL; END CASE;
	FOR t IN SELECT a, b FROM tenant.source WHERE a = 'b' AND b BETWEEN 1 AND 2 AND a IN ('x', 'y') AND tenant.folded('a loop') ORDER BY a LOOP
		NULL;
	END LOOP;
	FOR i IN 1 .. CASE WHEN tenant.folded('a bound') THEN 1 ELSE 2 END LOOP NULL; END LOOP;
	EXECUTE format('SELECT %s', tenant.folded('EXECUTE')) USING tenant.folded('USING');
	RAISE NOTICE '%', tenant.folded('RAISE');
	ASSERT tenant.folded('ASSERT'), tenant.folded('ASSERT');
	RETURN tenant.folded('RETURN')::text;
END $$;
CREATE FUNCTION tenant.flow_failing() RETURNS text LANGUAGE plpgsql SET search_path = tenant, pg_catalog SET work_mem = '64kB' AS $$
BEGIN
	RETURN tenant.folded_and_fails();
END $$;
CREATE FUNCTION tenant.flow_pragma() RETURNS text LANGUAGE plpgsql SET search_path = tenant, pg_catalog AS $$
BEGIN
	PERFORM public.plpgsql_check_pragma('table: tenant_table(a int default 1, b text default tenant.folded(''pragma''))', 'echo: x', 'enable: tracer', 'type: x tenant.checked');
	PERFORM public.plpgsql_check_pragma('sequence: tenant_sequence');
	RETURN tenant.folded('pragma');
END $$;
CREATE FUNCTION tenant.flow_as_other() RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = tenant, pg_catalog SET role = 'tenant' AS $$
BEGIN
	RETURN tenant.folded('SET role');
END $$;
COMMENT ON FUNCTION tenant.flow(text) IS '@plpgsql_check_options: all_warnings = true, anyelementtype = tenant.checked';
CREATE FUNCTION tenant.atomic(a text DEFAULT tenant.default()) RETURNS boolean RETURN tenant.folded('ATOMIC');
CREATE VIEW tenant.view AS SELECT tenant.folded('view') AS a;
SELECT durable.start_new('tenant.orch', '["abc"]', 'bait'), durable.start_new('tenant.refusing', '"abc"', 'refusing'), durable.start_new('tenant.plain', NULL, 'live');
];
my ($rc, $out, $err) = $node->psql('postgres', $tamper, extra_params => [ '-U', 'tenant' ]);
is($err, '', 'the tenant prepares');
poll_until($node, q[SELECT count(*) FROM durable.instances WHERE completed_time IS NOT NULL], 'its instances end', 2);

$node->safe_psql('postgres', 'CREATE EXTENSION pg_cron') if $cron;
my $checker = $node->psql('postgres', 'CREATE EXTENSION plpgsql_check') == 0;

# The state of the session, as text; taken before and after.
my $state = q[
CREATE FUNCTION pg_temp.state() RETURNS SETOF text LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $f$
	SELECT concat(current_user, ' ', session_user)
	UNION ALL SELECT concat('setting ', name, ' ', setting) FROM pg_settings WHERE name NOT IN ('search_path', 'transaction_isolation')
	UNION ALL SELECT concat('lock ', classid, ' ', objid, ' ', mode) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()
	UNION ALL SELECT concat('lock ', relation::regclass, ' ', mode) FROM pg_locks WHERE relation = 'public.written'::regclass AND pid = pg_backend_pid()
	UNION ALL SELECT concat('statement ', name) FROM pg_prepared_statements
	UNION ALL SELECT concat('cursor ', name, ' ', is_holdable) FROM pg_cursors WHERE name !~ '^<'
	UNION ALL SELECT concat('temporary ', relname) FROM pg_class WHERE relnamespace = pg_my_temp_schema()
	UNION ALL SELECT concat('temporary type ', typname) FROM pg_type WHERE typnamespace = pg_my_temp_schema() AND typrelid = 0 AND typelem = 0
	UNION ALL SELECT concat('channel ', pg_listening_channels)  FROM pg_listening_channels()
	UNION ALL SELECT concat('written ', count(*)) FROM public.written
	UNION ALL SELECT concat('number ', last_value, is_called) FROM public.numbers
	UNION ALL SELECT concat('superuser ', rolname) FROM pg_roles WHERE rolsuper
$f$;
CREATE FUNCTION pg_temp.path() RETURNS text LANGUAGE sql AS $f$ SELECT pg_catalog.current_setting('search_path') $f$;
CREATE FUNCTION pg_temp.compare(call text) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $f$
DECLARE
	line text;
BEGIN
	FOR line IN
		(SELECT 'lost ' || state FROM pg_temp.before EXCEPT ALL SELECT 'lost ' || s FROM pg_temp.state() s)
		UNION ALL
		(SELECT 'made ' || s FROM pg_temp.state() s EXCEPT ALL SELECT 'made ' || state FROM pg_temp.before)
	LOOP
		RAISE WARNING 'SEIZED: % after %', line, call;
	END LOOP;
END $f$;
];

# Runs calls as a superuser under the hostile path, each a statement of its own; returns what was seized. With a
# transaction: in one that holds cursors, a large object and deferred work as well.
sub administer
{
	my ($transaction, @calls) = @_;
	my $script = "\\set VERBOSITY terse\n$state" . ($checker ? "LOAD 'plpgsql_check';" : '');

	$script .= q[
		CREATE TEMP TABLE kept (a int);
		PREPARE kept AS SELECT 1;
		LISTEN kept;
		SELECT pg_advisory_lock(42), pg_advisory_lock_shared(43);
		SET work_mem = '7MB';
		SET my.setting = 'kept';
	];
	$script .= "CREATE TEMP TABLE before (state text);\n";
	foreach my $call (@calls)
	{
		my $quoted = $call =~ s/'/''/gr;

		$script .= "SET search_path = pg_catalog, pg_temp;\n";
		$script .= "BEGIN; SET LOCAL maintenance_work_mem = '5MB'; DECLARE admins SCROLL CURSOR FOR SELECT 'secret' AS a; SELECT lo_from_bytea(0, 'secret') AS lo \\gset\nSELECT lo_open(:lo, 262144) AS fd;\n" if $transaction;
		$script .= "TRUNCATE before; INSERT INTO before SELECT pg_temp.state();\n$hostile;\n";
		$script .= $transaction ? "SAVEPOINT s;\n" : '';
		$script .= "$call;\n";
		$script .= "\\if :ERROR\nROLLBACK TO s;\n\\endif\n" if $transaction;
		$script .= "SELECT 'path ' OPERATOR(pg_catalog.||) pg_temp.path();\n";
		$script .= "SELECT pg_temp.compare('$quoted');\n";
		if ($transaction)
		{
			$script .= "SELECT 'object ', pg_catalog.convert_from(pg_catalog.loread(0, 10), 'UTF8');\nFETCH admins;\n";
			$script .= "ROLLBACK;\n";
		}
	}
	my ($rc, $out, $err) = $node->psql('postgres', $script, on_error_stop => 0);
	my @paths = grep { /^path / } split /\n/, $out;

	is(scalar(@paths), scalar(@calls), 'all calls were made');
	is(join(' ', grep { $_ ne 'path hostile, pg_catalog' } @paths), '', 'search_path is as it was');
	is(join("\n", $err =~ /^.*SEIZED.*$/mg), '', 'nothing is seized');
	if ($transaction)
	{
		is(scalar(() = $out =~ /^object \|secret$/mg), scalar(@calls), 'the large object is where it was');
		is(scalar(() = $out =~ /^secret$/mg), scalar(@calls), 'and the cursor');
	}
	is($node->safe_psql('postgres', q[SELECT rolsuper FROM pg_roles WHERE rolname = 'tenant']), 'f', 'the tenant is an ordinary role');
	$node->safe_psql('postgres', 'ALTER ROLE tenant NOSUPERUSER');
	return ($out, $err);
}

# The two ways that were open.
my @restarts = (q[SELECT durable.restart('bait')], q[SELECT durable.restart('refusing')], q[SELECT durable.restart('bait', false)]);
for my $transaction (0, 1)
{
	my ($out, $err) = administer($transaction, @restarts);
	unlike($err, qr/after all/, 'nothing of the tenant has run');
}
# Nor does it when the session has become the tenant, as code could go back to the role that has logged in.
$node->safe_psql('postgres', q[
	CREATE FUNCTION tenant.goes_back(x text) RETURNS boolean LANGUAGE plpgsql AS $$
	BEGIN
		IF session_user <> 'tenant' THEN
			PERFORM pg_catalog.set_config('role', 'none', true);
			RAISE NOTICE 'SEIZED %', current_user;
		END IF;
		RETURN true;
	END $$;
	CREATE DOMAIN tenant.leash AS text CHECK (tenant.goes_back(VALUE));
	CREATE FUNCTION tenant.leashed(x tenant.leash) RETURNS text LANGUAGE sql AS 'SELECT x::text';
	GRANT ALL ON FUNCTION tenant.goes_back, tenant.leashed TO tenant]);
$node->safe_psql('postgres', q[SELECT durable.start_new('tenant.leashed', '"x"', 'leashed')], extra_params => [ '-U', 'tenant' ]);
poll_until($node, q[SELECT runtime_status = 'Completed' FROM durable.get_status('leashed')], 'an instance with a domain');
my ($restarted, $back, $seized) = $node->psql('postgres', q[SET ROLE tenant; SELECT durable.restart('leashed') IS NOT NULL; SELECT durable.restart('leashed', false)]);
is($back, "t\nleashed", 'SET ROLE, then a restart');
unlike($seized, qr/SEIZED/, '... runs nothing of the tenant');
my @checks = map { "SELECT severity FROM durable.check_orchestrator('tenant.$_')" } 'flow(pg_catalog.text)', 'flow_failing()', 'flow_pragma()', 'flow_as_other()', 'atomic(pg_catalog.text)', 'orch(tenant.checked, pg_catalog.text, tenant.row)';
push @checks, map { s/'\)/', 'tenant, hostile, pg_catalog')/r } @checks;
administer(0, @checks);
administer(1, @checks[0, 1]);
if ($checker)
{
	my $check = q[SELECT count(*) FROM durable.check_orchestrator('tenant.flow_failing()') WHERE problem ~ 'only its text'];

	is($node->safe_psql('postgres', $check, extra_params => [ '-U', 'tenant' ]), 0, 'the owner has plpgsql_check look at it');
	is($node->safe_psql('postgres', $check), 1, 'nobody else, superusers included');
	is($node->safe_psql('postgres', "SET ROLE tenant; $check"), 1, 'nor after SET ROLE');

	# The owner of a function may have changed since it was written. What plpgsql_check runs need not be a function: a domain may check by built-in ones.
	my $file = $node->basedir . '/ran';

	$node->safe_psql('postgres', qq[
		CREATE ROLE gone LOGIN;
		CREATE SCHEMA gone AUTHORIZATION gone;
		SET ROLE gone;
		CREATE FUNCTION gone.volatile() RETURNS int LANGUAGE plpgsql AS \$f\$ BEGIN COPY (SELECT current_user) TO PROGRAM 'cat >$file'; RETURN 1; END \$f\$;
		CREATE FUNCTION gone.immutable(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS \$f\$ BEGIN PERFORM pg_advisory_lock(4711); RETURN gone.volatile(); END \$f\$;
		CREATE FUNCTION gone.folds() RETURNS jsonb LANGUAGE plpgsql AS \$f\$ DECLARE x int; BEGIN x := gone.immutable(1); RETURN to_jsonb(x); END \$f\$;
		CREATE DOMAIN gone.number AS int CHECK (pg_advisory_lock(4712) IS NOT NULL);
		CREATE FUNCTION gone.parses() RETURNS jsonb LANGUAGE plpgsql AS \$f\$ DECLARE x gone.number[]; BEGIN x := '{1}'::gone.number[]; RETURN to_jsonb(x); END \$f\$;
		RESET ROLE;
		REASSIGN OWNED BY gone TO postgres;
		DROP ROLE gone]);
	foreach my $function ('gone.folds()', 'gone.parses()')
	{
		is($node->safe_psql('postgres', qq[
			SELECT problem FROM durable.check_orchestrator('$function') WHERE severity = 'info';
			SELECT objid FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()]),
			'only its text was searched, as plpgsql_check may run code, and its owner is a superuser', "a superuser who has taken $function over runs nothing of it");
	}
	ok(!-e $file, 'and no program');
}
# Somebody else runs nothing of it.
($rc, $out, $err) = $node->psql('postgres', q[SELECT problem FROM durable.check_orchestrator('tenant.flow(text)') WHERE severity = 'info'], extra_params => [ '-U', 'neighbour' ]);
like($out, qr/its owner has not logged in here/, 'a neighbour has its text searched');
is($err, '', 'and runs nothing');
# What a superuser's session keeps, and no rollback undoes: PL/pgSQL resolves the types of a function once, when it first runs.
$node->safe_psql('postgres', q[CREATE FUNCTION public.admin_report(x text) RETURNS text LANGUAGE plpgsql AS $$ DECLARE t text; BEGIN t := x; RETURN t; END $$]);
$node->safe_psql('postgres', q[
	CREATE FUNCTION tenant.evil(v pg_catalog.text) RETURNS boolean LANGUAGE plpgsql SET search_path = pg_catalog AS $$
	BEGIN
		IF current_user <> 'tenant' THEN EXECUTE 'ALTER ROLE tenant SUPERUSER'; END IF;
		RETURN true;
	END $$;
	CREATE SCHEMA IF NOT EXISTS tenant;
	CREATE DOMAIN tenant.text AS pg_catalog.text CHECK (tenant.evil(VALUE));
	CREATE FUNCTION tenant.go() RETURNS boolean LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog AS $$
	BEGIN
		IF session_user <> 'tenant' THEN
			PERFORM pg_catalog.set_config('search_path', 'tenant, pg_catalog', false), pg_catalog.set_config('seed', '0.25', false);
			BEGIN PERFORM public.admin_report('x'); EXCEPTION WHEN OTHERS THEN NULL; END;
		END IF;
		RETURN true;
	END $$;
	CREATE DOMAIN tenant.compiling AS pg_catalog.text CHECK (tenant.go());
	CREATE FUNCTION tenant.compiles(x tenant.compiling) RETURNS pg_catalog.text LANGUAGE plpgsql SET search_path = pg_catalog AS $$ BEGIN RETURN tenant.go()::pg_catalog.text; END $$;
	SELECT durable.start_new('tenant.compiles', '"x"', 'compiles')] =~ s/CREATE SCHEMA IF NOT EXISTS tenant;//r, extra_params => [ '-U', 'tenant' ]);
for my $call (q[durable.restart('compiles')], q[durable.check_orchestrator('tenant.compiles(tenant.compiling)')])
{
	$node->safe_psql('postgres', ($checker ? "LOAD 'plpgsql_check';" : '') . "SELECT $call; SELECT public.admin_report('victim')");
	is($node->safe_psql('postgres', q[SELECT rolsuper FROM pg_roles WHERE rolname = 'tenant']), 'f', "$call compiles nothing for the tenant");
	$node->safe_psql('postgres', 'ALTER ROLE tenant NOSUPERUSER');
}

#
# Every public function that takes an instance, a function or a role, on what is the tenant's.  Those that start or run
# what they are given do so as the caller, as their name says.
#
my $as_caller = q('start_new', 'schedule', 'run_sql', 'run_schedule', 'wait_for_completion_or_create_check_status_response');
my $list = q[
	SELECT format('%s durable.%I(%s)', CASE prokind WHEN 'p' THEN 'CALL' ELSE 'SELECT' END, proname,
	              string_agg(format('%s => %s::pg_catalog.%s', quote_ident(a.name),
	                  CASE WHEN a.name IN ('instance_id', 'parent_instance_id') THEN quote_literal(id)
	                       WHEN a.type = 'regprocedure'::regtype THEN quote_literal('tenant.flow(pg_catalog.text)')
	                       WHEN a.type = 'regrole'::regtype THEN quote_literal('tenant')
	                       WHEN a.name IN ('search_path') THEN quote_literal('tenant, hostile, pg_catalog')
	                       WHEN a.name IN ('schedule_name', 'name', 'function', 'event_name') THEN quote_literal('tenant.orch')
	                       ELSE CASE a.type::regtype::text WHEN 'text' THEN quote_literal('x') WHEN 'jsonb' THEN quote_literal('{}') WHEN 'boolean' THEN 'true'
	                                                       WHEN 'interval' THEN quote_literal('1 ms') WHEN 'integer' THEN '100' ELSE 'NULL' END END,
	                  format_type(a.type, NULL)), ', ' ORDER BY a.n))
	  FROM unnest('{bait,live}'::text[]) id, pg_proc p CROSS JOIN LATERAL unnest(coalesce(proargtypes::oid[], '{}'), proargnames[1:pronargs]) WITH ORDINALITY a (type, name, n)
	 WHERE pronamespace = 'durable'::regnamespace AND proname NOT IN (] . $as_caller . q[)
	   AND (proargnames[1:pronargs] && '{instance_id,parent_instance_id,function,schedule_name}' OR proargtypes::oid[] && '{regprocedure,regrole}'::regtype[]::oid[])
	 GROUP BY p.oid, prokind, proname, id
	 ORDER BY proname ~ 'purge|revoke', proname, id];
my @calls = map { s/pg_catalog\.(durable\.|timestamp with time zone|double precision)/$1/gr =~ s/::timestamp with time zone/::pg_catalog.timestamptz/gr
	  =~ s/pg_catalog\.boolean/pg_catalog.bool/gr =~ s/pg_catalog\.integer/pg_catalog.int4/gr =~ s/pg_catalog\.bigint/pg_catalog.int8/gr } split /\n/, $node->safe_psql('postgres', $list);
cmp_ok(scalar(@calls), '>', 40, 'public functions that take one of these');
push @calls, 'SELECT * FROM durable.query_instances()', q[SELECT * FROM durable.query_instances(tags => '{}', name => 'tenant.orch')],
	'SELECT * FROM durable.count_instances()', 'SELECT * FROM durable.retry_policy()', 'SELECT durable.reset_stats()', 'SELECT durable.renew_notify_channels()',
	map { "SELECT count(*) FROM durable.$_" } split /\n/, $node->safe_psql('postgres', q[SELECT relname FROM pg_class WHERE relnamespace = 'durable'::regnamespace AND relkind IN ('v', 'r')]);
($out, $err) = administer(0, @calls);
unlike($err, qr/syntax error|does not exist at character|cannot be matched/, 'the calls are well formed');

# Functions that look names up under a search_path that is not their own, with objects of the caller's.
$node->safe_psql('postgres', q[CREATE FUNCTION public.own() RETURNS text LANGUAGE sql AS $$ SELECT 'own'::pg_catalog.text $$;
	INSERT INTO durable.schedules (schedule_name, owner_name, cron_expression, name, search_path) VALUES ('own', 'postgres', '* * * * *', 'public.own', 'hostile, pg_catalog')]);
($out, $err) = administer(0, q[SELECT durable.start_new('public.own', instance_id => 'own'::pg_catalog.text)], q[SELECT durable.run_schedule('own')],
	q[SELECT durable.schedule('x', '* * * * *', 'public.own', search_path => 'hostile, pg_catalog')], q[SELECT durable.run_sql('SELECT $1::pg_catalog.int4', '[1]')],
	q[SELECT durable.wait_for_completion_or_create_check_status_response('own', '2 s', '1 s')]);

is($node->safe_psql('postgres', 'SELECT * FROM durable_internal.violations'), '', 'no invariant is broken');

# A restart finds the function that its owner finds, whoever asks for the restart.
$node->safe_psql('postgres', q[
CREATE ROLE ops LOGIN;
GRANT tenant TO ops;
CREATE SCHEMA ops AUTHORIZATION ops;
SELECT durable.grant_usage('ops'), durable.grant_usage('tenant');
CREATE FUNCTION ops.report() RETURNS text LANGUAGE sql AS $$ SELECT 'secret'::pg_catalog.text $$;
CREATE FUNCTION tenant.report() RETURNS text LANGUAGE sql AS $$ SELECT 'own'::pg_catalog.text $$;
GRANT USAGE ON SCHEMA tenant TO ops]);
$node->safe_psql('postgres', q[SET search_path = "$user", pg_catalog; SELECT durable.start_new('report', instance_id => 'report')], extra_params => [ '-U', 'tenant' ]);
poll_until($node, q[SELECT output FROM durable.get_status('report')], 'an instance found by "$user"', '"own"');

# A start that may be repeated is not answered with the instance of somebody else who has taken the id before, live or ended.
$node->safe_psql('postgres', q[SELECT durable.start_new('tenant.plain', instance_id => 'admin-job')], extra_params => [ '-U', 'tenant' ]);
foreach my $id ('admin-job', 'report')
{
	my $start = qq[SELECT durable.start_new('%s', instance_id => '$id', on_duplicate => 'ignore', dedupe_statuses => '{Pending,Running,Suspended,Completed,Failed,Terminated}')];

	foreach my $case ([ 'postgres', 'public.own' ], [ 'ops', 'ops.report' ])
	{
		my ($role, $function) = @$case;
		my ($rc, $out, $err) = $node->psql('postgres', sprintf($start, $function), extra_params => [ '-U', $role, '-v', 'VERBOSITY=sqlstate' ]);

		like($err, qr/OD003/, "$role does not take the tenant's $id for its own");
	}
	is($node->safe_psql('postgres', sprintf($start, 'tenant.report'), extra_params => [ '-U', 'tenant' ]), $id, 'but the tenant does');
}
foreach my $role ('ops', 'postgres')
{
	$node->safe_psql('postgres', 'CREATE SCHEMA postgres; CREATE FUNCTION postgres.report() RETURNS text LANGUAGE sql AS $$ SELECT \'secret\'::pg_catalog.text $$') if $role eq 'postgres';
	my $id = $node->safe_psql('postgres', q[SELECT durable.restart('report')], extra_params => [ '-U', $role ]);
	poll_until($node, "SELECT concat_ws(' ', function, output) FROM durable.instances WHERE instance_id = '$id'", "$role restarts it", 'tenant.report() "own"');
}

#
# A tenant owns a database and prepares its schema before a superuser makes the extension there: operators and functions that
# fit the types of the engine's expressions better than PostgreSQL's own do.  Nothing of the extension comes to depend on one.
#
$node->safe_psql('postgres', 'CREATE DATABASE theirs OWNER tenant');
$node->safe_psql('theirs', q[
CREATE FUNCTION public.seize() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
		ALTER ROLE tenant SUPERUSER;
	END IF;
	RETURN true;
END $$;
DO $$
DECLARE
	types text[] := '{text,name,oid,regrole,regprocedure,regclass,smallint,integer,bigint,double precision,numeric,timestamptz,interval,jsonb,"char",text[],name[],oid[]}';
	l text;
	r text;
	o text;
BEGIN
	FOREACH l IN ARRAY types LOOP
		FOREACH r IN ARRAY types LOOP
			EXECUTE format('CREATE FUNCTION public.fits(%1$s, %2$s) RETURNS boolean LANGUAGE sql AS %3$L', l, r, 'SELECT public.seize()');
			FOREACH o IN ARRAY '{=,<>,<,>,<=,>=,+,-,*,/,||,->,->>,@>,~}'::text[] LOOP
				IF NOT EXISTS (SELECT FROM pg_operator WHERE oprname = o AND oprleft = l::regtype AND oprright = r::regtype AND oprnamespace = 'pg_catalog'::regnamespace) THEN
					EXECUTE format('CREATE OPERATOR public.%1$s (LEFTARG = %2$s, RIGHTARG = %3$s, FUNCTION = public.fits)', o, l, r);
				END IF;
			END LOOP;
		END LOOP;
		FOR o IN SELECT DISTINCT quote_ident(proname) FROM pg_proc WHERE pronargs = 1 AND prokind = 'f' AND pronamespace = 'pg_catalog'::regnamespace AND proargtypes[0] IN (25, 26, 20, 701, 1184, 3802)
		          AND NOT EXISTS (SELECT FROM pg_proc q WHERE q.proname = pg_proc.proname AND q.pronargs = 1 AND q.proargtypes[0] = l::regtype) LOOP
			EXECUTE format('CREATE FUNCTION public.%1$s(%2$s) RETURNS boolean LANGUAGE sql AS %3$L', o, l, 'SELECT public.seize()');
		END LOOP;
	END LOOP;
END $$], extra_params => [ '-U', 'tenant' ]);
$node->safe_psql('theirs', 'CREATE EXTENSION durable');
# no operator of this test is to be the tenant's
is($node->safe_psql('theirs', q[SET search_path = pg_catalog;
SELECT count(*) FROM pg_depend d
 WHERE d.deptype = 'n' AND d.classid NOT IN ('pg_operator'::regclass) AND d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass)
   AND EXISTS (SELECT FROM pg_proc p WHERE p.oid = d.refobjid AND p.pronamespace = 'public'::regnamespace
               UNION ALL SELECT FROM pg_operator o WHERE o.oid = d.refobjid AND o.oprnamespace = 'public'::regnamespace)]), 0, 'nothing depends on what the tenant has prepared');
$node->safe_psql('theirs', q[
SELECT durable.grant_usage('neighbour');
GRANT CREATE ON SCHEMA public TO neighbour]);
$node->safe_psql('theirs', q[
CREATE FUNCTION public.who() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN durable.call_activity('public.whoami') #>> '{}'; END $$;
CREATE FUNCTION public.whoami() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN current_user; END $$;
SELECT durable.start_new('public.who', instance_id => 'who');
INSERT INTO durable.schedules (schedule_name, cron_expression, name, search_path) VALUES ('mine', '* * * * *', 'public.who', 'public')], extra_params => [ '-U', 'neighbour' ]);
poll_until($node, q[SELECT output FROM durable.get_status('who')], 'an instance runs there', '"neighbour"', 'theirs');
$node->safe_psql('theirs', join ';', 'SET search_path = pg_catalog', map { "SELECT count(*) FROM durable.$_" } split /\n/,
	$node->safe_psql('theirs', q[SET search_path = pg_catalog; SELECT relname FROM pg_class WHERE relnamespace = 'durable'::regnamespace AND relkind IN ('v', 'r')]));
$node->safe_psql('theirs', q[SELECT count(*) FROM durable.check_orchestrator('public.who()'); SELECT durable.explain('who')]);
is($node->safe_psql('theirs', q[SET search_path = pg_catalog; SELECT rolsuper FROM pg_roles WHERE rolname = 'tenant']), 'f', 'the tenant has gained nothing');

# Whatever calls the extension by its name, such as a job of pg_cron, is not to find a schema of the tenant's.
$node->safe_psql('postgres', 'CREATE DATABASE empty OWNER tenant');
foreach my $statement ('CREATE SCHEMA durable', 'CREATE SCHEMA durable_internal', 'CREATE SCHEMA x; ALTER SCHEMA x RENAME TO durable', 'CREATE SCHEMA IF NOT EXISTS durable_internal')
{
	my ($ret, $stdout, $stderr) = $node->psql('empty', $statement, extra_params => [ '-U', 'tenant', '-v', 'VERBOSITY=sqlstate' ]);
	like($stderr, qr/42939/, "$statement: refused");
}
$node->safe_psql('empty', 'CREATE SCHEMA durable; DROP SCHEMA durable; CREATE EXTENSION durable; DROP EXTENSION durable');

# Where the owner of the extension is no superuser any more, who can replace its functions and change its tables, nothing runs.
$node->safe_psql('postgres', 'CREATE DATABASE given; CREATE ROLE retired SUPERUSER LOGIN');
$node->safe_psql('given', 'CREATE EXTENSION durable', extra_params => [ '-U', 'retired' ]);
$node->safe_psql('given', q[CREATE FUNCTION public.hello() RETURNS int LANGUAGE sql AS 'SELECT 1'; SELECT durable.start_new('public.hello', instance_id => 'before')]);
poll_until($node, q[SELECT output FROM durable.get_status('before')], 'the extension is a superuser\'s', '1', 'given');
$node->safe_psql('given', q[ALTER ROLE retired NOSUPERUSER; REASSIGN OWNED BY retired TO neighbour; GRANT CREATE ON SCHEMA public TO neighbour]);
$node->safe_psql('given', q[
CREATE FUNCTION public.seize() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	ALTER ROLE neighbour SUPERUSER;
EXCEPTION WHEN insufficient_privilege OR invalid_grant_operation THEN
	NULL;
END $$;
CREATE FUNCTION public.seize(key bigint) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM public.seize(); RETURN key; END $$;
CREATE INDEX ON durable_internal.messages (public.seize(key));
CREATE INDEX ON durable_internal.instances (public.seize(key));
CREATE OR REPLACE FUNCTION durable_internal.adopt_settings() RETURNS boolean LANGUAGE sql AS 'SELECT public.seize(); SELECT true';
CREATE OR REPLACE FUNCTION durable_internal.grant_again() RETURNS void LANGUAGE sql AS 'SELECT public.seize()';
ALTER ROLE neighbour PASSWORD 'x'], extra_params => [ '-U', 'neighbour' ]);
{
	my ($ret, $stdout, $stderr) = $node->psql('given', q[SELECT durable.start_new('public.hello')], extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	like($stderr, qr/55000: durable cannot work.*DETAIL:  Its owner, role "neighbour", is not a superuser/s, 'clients get an error');
}
poll_until($node, q[SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = 'given' AND backend_type LIKE 'durable%'], 'the engine leaves', 't', 'given');
$node->safe_psql('given', 'ALTER EXTENSION durable UPDATE');
is($node->safe_psql('given', q[SELECT rolsuper FROM pg_roles WHERE rolname = 'neighbour']), 'f', 'its owner has gained nothing');

# The owner of a database may set a role for all its sessions, but not for those of the engine.
$node->safe_psql('theirs', q[ALTER DATABASE theirs SET role = 'tenant'; ALTER DATABASE theirs SET session_authorization = 'tenant'; ALTER DATABASE theirs SET debug_print_parse = on], extra_params => [ '-U', 'tenant' ]);
$node->safe_psql('theirs', q[SET role = none; SET search_path = pg_catalog; SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'theirs' AND pid <> pg_backend_pid()]);
$node->safe_psql('theirs', q[SET SESSION AUTHORIZATION neighbour; SET role = none; SELECT durable.start_new('public.who', instance_id => 'again')]);
$ENV{PGOPTIONS} = '-c role=none';
poll_until($node, q[SELECT output FROM durable.get_status('again')], 'the engine goes on, as whom it should', '"neighbour"', 'theirs');
$node->stop;
done_testing();
