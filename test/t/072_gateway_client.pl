# The HTTP gateway and the client of the npm package durable-functions 3, which knows nothing of PostgreSQL. Needs npm, and
# its registry or DURABLE_NPM, a directory in which the package is installed.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use DurableTest;
use lib 'test/gateway';
use DurableGateway;

plan skip_all => 'the gateway is not built' unless -x gateway_program();
plan skip_all => 'there is no node' if system('node --version >/dev/null 2>&1') != 0;
my $directory = $ENV{DURABLE_NPM};
if (!$directory)
{
	$directory = "$ENV{DURABLE_TMP}/tmp/npm-$$";
	mkdir $directory;
	plan skip_all => 'npm does not give the package durable-functions'
	  if system("cd $directory && timeout 120 npm install --silent --no-audit --no-fund durable-functions\@3 >/dev/null 2>&1") != 0;
}

my $node = durable_node('gateway_client');
$node->safe_psql('postgres', q(
CREATE FUNCTION say_hello(name text) RETURNS text LANGUAGE sql AS $$ SELECT 'Hello ' || name || '!' $$;
CREATE FUNCTION hello(city text) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	RETURN durable.call_activity('say_hello', to_jsonb(city));
END $$;
CREATE FUNCTION nothing() RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION approval() RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	RETURN durable.wait_for_external_event('Approval');
END $$;
CREATE TABLE repaired (flag text);
CREATE FUNCTION note_repair(flag text) RETURNS void LANGUAGE sql AS 'INSERT INTO repaired VALUES (flag)';
CREATE FUNCTION repair(flag text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM durable.wait_for_external_event('go');
	PERFORM durable.call_activity('note_repair', to_jsonb(flag));
END $$;
CREATE FUNCTION check_repair(flag text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	IF NOT EXISTS (SELECT FROM repaired r WHERE r.flag = check_repair.flag) THEN
		RAISE 'broken';
	END IF;
END $$;
CREATE FUNCTION fails_once(flag text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM durable.call_activity('check_repair', to_jsonb(flag));
END $$;
));
my $gateway = gateway_start($node);
my $output = '';
IPC::Run::run([ 'node', 'test/gateway/client.js', $directory, $gateway->{url} ], '>', \$output, '2>&1', IPC::Run::timeout(180));
is($?, 0, 'the client is content') or diag $output;
# Each of its tests counts.
foreach my $line (split /\n/, $output)
{
	ok($1 eq 'ok', $2) if $line =~ /^(ok|not ok) \d+ - (.*)/;
}
is($gateway->stop, '0', 'exit 0');
done_testing();
