# Seeded random calls of every public function with odd arguments, by two roles, while the engine runs: no crash, no
# internal error, no wedge.  DURABLE_FUZZ sets the number of calls, DURABLE_SEED the seed.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use DurableTest;

my $calls = $ENV{DURABLE_FUZZ} // 2000;
my $seed = $ENV{DURABLE_SEED} // int(rand(1_000_000));

srand($seed);
diag("seed $seed, $calls calls");

my $node = durable_node('fuzz', conf => q(
statement_timeout = 5s
durable.max_workers = 3
log_min_error_statement = error
log_error_verbosity = verbose
));
$node->safe_psql('postgres', q[
CREATE ROLE one LOGIN;
CREATE ROLE two LOGIN;
SELECT durable.grant_usage('one'), durable.grant_usage('two');
CREATE SCHEMA one AUTHORIZATION one;
CREATE SCHEMA two AUTHORIZATION two;
CREATE FUNCTION echo(x jsonb DEFAULT NULL) RETURNS jsonb LANGUAGE sql AS 'SELECT x';
CREATE FUNCTION fails() RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE 'failed'; END $$;
CREATE FUNCTION add(a int, b int DEFAULT 1) RETURNS int LANGUAGE sql AS 'SELECT a + b';
CREATE FUNCTION wait(x jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	PERFORM durable.call_activity('echo', x);
	RETURN durable.wait_for_external_event('e', '20 ms', 'null');
END $$;
CREATE FUNCTION eval(statements text[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	statement text;
BEGIN
	FOREACH statement IN ARRAY statements LOOP
		BEGIN
			EXECUTE statement;
		EXCEPTION WHEN OTHERS THEN NULL;
		END;
	END LOOP;
	RETURN 'evaluated';
END $$;
]);

sub pick
{
	return $_[ rand @_ ];
}

# Text as an expression of SQL.
my @texts = (
	'NULL', q(''), q('x'), q(' '), q('e'), q('E'), q('@x'), q('a/b'), q(E'a\\nb'), q(E'\\x01\\x7f'), q(U&'\\0301\\+01F600'), q(repeat('x', 256)),
	q(repeat('ä', 257)), q(repeat('x', 100000)), q('"'), q('%s %n %'), q('$1'), q(''';--'), q('echo'), q('fails'), q('add'), q('wait'), q('eval'),
	q('public.echo'), q('pg_catalog.now'), q('no.such.thing'), q('pg_sleep'), "'echo('", q('"'), q('.'), q('durable.start_new'), q('SELECT 1'),
	q('DROP TABLE x; SELECT 1'), q('SELECT $1::int'), q('ignore'), q('error'), q('0 0 * * *'), q('log'), q('-1'), q('Infinity'), q('OD004'), q('{}'), q('\\x00'));
my @jsons = (
	'NULL', q('null'), q('1'), q('-1e300'), q('""'), q('"x"'), q('[]'), q('{}'), q('[1,2]'), q('{"a": 1}'), q('{"a": 1, "b": null}'), q('{"x": {}}'), q('[null]'),
	q((repeat('[', 3000) || repeat(']', 3000))::jsonb), q(to_jsonb(repeat('x', 300000))), q((SELECT jsonb_agg(i) FROM generate_series(1, 5000) i)),
	q('{"statements": ["SELECT durable.sleep(''1 ms'')", "SELECT 1/0", "SELECT durable.call_activity(''fails'')"]}'), q(E'"\\\\u0001\\\\u00e4"'), q('1e1000'), q('true'));
my @intervals = ('NULL', q('0'), q('1 ms'), q('-1 s'), q('20 ms'), q('178000000 years'), q('-178000000 years'), q('1 mon -30 days'), q('99999 days 99999 h'));
my @times = ('NULL', q('epoch'), q('infinity'), q('-infinity'), 'now()', q(now() + '50 ms'), q('294276-12-31'), q('4713-01-01 BC'));
my @ids = (map { "'i$_'" } 0 .. 14);
my %values = (
	text => sub { rand() < 0.5 ? pick(@ids) : pick(@texts) },
	jsonb => sub { pick(@jsons) },
	interval => sub { pick(@intervals) },
	'timestamp with time zone' => sub { pick(@times) },
	boolean => sub { pick('NULL', 'true', 'false') },
	integer => sub { pick('NULL', 0, 1, 2, -1, 100, 2147483647, '(-2147483648)') },
	bigint => sub { pick('NULL', 0, 1, -1, '9223372036854775807') },
	'double precision' => sub { pick('NULL', 0, 1, -1, 1.5, q('NaN'), q('Infinity'), q('1e308')) },
	'text[]' => sub { pick('NULL', q('{}'), q('{i1,i2}'), q('{NULL}'), q('{{a},{b}}'), q('[0:1]={i1,23505}'), q((SELECT array_agg('i' || i) FROM generate_series(1, 3000) i))) },
	'durable.runtime_status' => sub { pick('NULL', q('Running'), q('Completed')) },
	'durable.runtime_status[]' => sub { pick('NULL', q('{}'), q('{Running}'), q('{NULL}'), q('{Completed,Failed,Terminated}'), q('{ContinuedAsNew,Pending}'), q('{{Failed},{Running}}')) },
	'durable.retry_policy' => sub { pick('NULL', 'durable.retry_policy(2)', q(ROW(NULL, NULL, NULL, NULL, NULL, NULL)), q(ROW(-1, '-1 s', 'NaN', '0', '-1 d', '{NULL}')),
			q(ROW(2147483647, '178000000 years', 1e308, NULL, NULL, '{x}'))) },
	'durable.task' => sub { pick('NULL', 'ROW(1)', 'ROW(0)', 'ROW(NULL)', 'ROW(2147483647)') },
	'durable.task[]' => sub { pick('NULL', q('{}'), q('{NULL}'), q('{(1),(2)}'), q('{(1),(1),()}'), q('{{(1)},{(2)}}')) },
	anyarray => sub { pick('ARRAY[1]', q(ARRAY['x', NULL]), 'ARRAY[ROW(1)::durable.task, ROW(2)]', 'ARRAY[ROW(1)::durable.task, NULL]', q('{}'::durable.task[]), 'NULL::durable.task[]',
			'ARRAY[durable.retry_policy(2)]') },
	regrole => sub { pick('NULL', q('one'), '0', '4294967295') },
	regprocedure => sub { pick('NULL', q('echo(jsonb)'), q('eval(text[])'), '0', '4294967295', q('durable.sleep(interval)')) },
	oid => sub { pick('NULL', '0', '4294967295') },
	uuid => sub { pick('NULL', q('00000000-0000-0000-0000-000000000000')) },
	name => sub { pick('NULL', q('x')) },
	smallint => sub { pick('NULL', 1, 99, -1) },
);

# Every public function: name, kind, types and names of its parameters.
my @functions;
for my $line (split /\n/, $node->safe_psql('postgres', q[
	SELECT proname, prokind, provariadic <> 0, (SELECT string_agg(format_type(t, NULL), ';' ORDER BY n) FROM unnest(proargtypes) WITH ORDINALITY u (t, n)),
	       pronargs - pronargdefaults
	  FROM pg_proc WHERE pronamespace = 'durable'::regnamespace ORDER BY oid::regprocedure::text COLLATE "C"]))
{
	my ($name, $kind, $variadic, $types, $required) = split /\|/, $line;
	push @functions, { name => $name, kind => $kind, variadic => $variadic eq 't', types => [ split /;/, $types ], required => $required };
}
my %unknown = map { $_ => 1 } grep { !exists $values{$_} } map { @{ $_->{types} } } @functions;
is(join(', ', sort keys %unknown), '', 'there are values for every type of parameter');

# A random call; some arguments are left to their defaults.
sub call
{
	my $function = pick(@functions);
	my @types = @{ $function->{types} };
	my $count = $function->{required} + int(rand(1 + @types - $function->{required}));
	my @arguments = map { my $value = $values{ $types[$_] }; ($value ? $value->() : 'NULL') . "::$types[$_]" } 0 .. $count - 1;

	$arguments[-1] = "VARIADIC $arguments[-1]" if $function->{variadic} && @arguments == @types;
	# functions that run to see how they are called, in the places that instances can be in
	return ($function->{kind} eq 'p' ? 'CALL' : 'SELECT') . " durable.$function->{name}(" . join(', ', @arguments) . ')';
}

sub quote
{
	my ($text) = @_;
	$text =~ s/'/''/g;
	return "'$text'";
}

# In sessions of a hundred calls, alternately of the two roles.  A call stands alone, in a transaction that is rolled back,
# or in the code of an orchestrator or an activity.
my %states;
my $ran = 0;
for (my $session = 0; $ran < $calls; $session++)
{
	my $role = $session % 2 ? 'one' : 'two';
	my $script = "\\set VERBOSITY verbose\nSET search_path = public, $role;\n";

	for (1 .. 100)
	{
		my $how = rand();

		if ($how < 0.5)
		{
			$script .= call() . ";\n";
		}
		elsif ($how < 0.6)
		{
			$script .= "BEGIN;\n" . call() . ";\n" . call() . ";\n" . pick('ROLLBACK', 'COMMIT') . ";\n";
		}
		else
		{
			my $statements = 'ARRAY[' . join(', ', map { quote(call()) } 1 .. 3) . ']';
			my $input = "jsonb_build_object('statements', $statements)";

			$input = "jsonb_build_object('statements', ARRAY['SELECT durable.call_activity(''public.eval'', ' || quote_literal($input) || ')'])" if $how < 0.75;
			$script .= "SELECT durable.start_new('public.eval', $input, on_duplicate => 'ignore', instance_id => " . pick(@ids) . ");\n";
		}
		$ran++;
	}
	my ($rc, $out, $err) = $node->psql('postgres', $script, on_error_stop => 0,
		connstr => $node->connstr('postgres') . " user=$role options='-c client_min_messages=error'", timeout => 180);
	$states{$1}++ while $err =~ /ERROR:  ([0-9A-Z]{5}):/g;
	unlike($err, qr/server closed the connection|could not connect/, "session $session goes on to its end") or last;
}
diag(join(', ', map { "$_: $states{$_}" } sort keys %states));
cmp_ok(scalar(keys %states), '>', 10, 'errors of many kinds');
is($states{XX000} // 0, 0, 'none of them internal');

# Whatever was left running can be ended, and others go on.
$node->safe_psql('postgres', q[
DO $$
DECLARE
	id text;
BEGIN
	FOR id IN SELECT instance_id FROM durable.instances WHERE runtime_status IN ('Pending', 'Running', 'Suspended') LOOP
		BEGIN
			PERFORM durable.terminate(id, cancel_activities => true);
		EXCEPTION WHEN SQLSTATE 'OD002' THEN NULL;
		END;
	END LOOP;
END $$]);
my $left = q[SELECT count(*) FROM durable.instances WHERE runtime_status IN ('Pending', 'Running', 'Suspended')];
poll_until($node, $left, 'all can be ended', 0);
$node->safe_psql('postgres', q[SET ROLE one; SELECT durable.start_new('public.wait', '1', 'last-one'); SET ROLE two; SELECT durable.start_new('public.wait', '1', 'last-two')]);
poll_until($node, q[SELECT count(*) = 2 FROM durable.instances WHERE instance_id LIKE 'last-%' AND runtime_status = 'Completed'], 'and new ones complete');
is($node->safe_psql('postgres', 'SELECT count(*) FROM durable_internal.violations'), 0, 'no invariant is broken');
my $log = slurp_file($node->logfile);
unlike($log, qr/TRAP:|PANIC:|terminated by signal/, 'nothing has crashed');
my @internal = $log =~ /^(.*XX000.*)$/mg;
is(join("\n", @internal[ 0 .. ($#internal < 4 ? $#internal : 4) ]), '', 'nor is there an internal error in the log');

$node->stop;
done_testing();
